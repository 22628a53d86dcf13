// proc.ts — what a process costs, from /proc: Linux only; elsewhere all is null.
import { readdirSync, readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100; // USER_HZ, which every Linux that Node runs on has

/** CPU seconds of a process so far. `withChildren`: and of those it started, the ended ones too (Postgres' backends). */
export function cpuSeconds(pid: number | undefined, withChildren = false): number | null {
  const own = stat(pid);
  if (own === null) return null;
  let ticks = own.ticks;
  if (withChildren) {
    ticks += own.childrensTicks;
    for (const child of childrenOf(pid as number)) ticks += stat(child)?.ticks ?? 0;
  }
  return ticks / TICKS_PER_SECOND;
}

/** The most memory it ever had, and has now; in MB. */
export function memoryMb(pid: number | undefined): { peak: number; now: number } | null {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    const of = (name: string) => Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)?.[1]) / 1024);
    return { peak: of('VmHWM'), now: of('VmRSS') };
  } catch {
    return null;
  }
}

type Stat = { parent: number; ticks: number; childrensTicks: number };

function stat(pid: number | undefined): Stat | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in brackets, may hold spaces.
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const [parent, user, system, childrensUser, childrensSystem] = [1, 11, 12, 13, 14].map((i) => fields[i] as number);
    return {
      parent: parent as number,
      ticks: (user as number) + (system as number),
      childrensTicks: (childrensUser as number) + (childrensSystem as number),
    };
  } catch {
    return null;
  }
}

function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((other) => other > 1 && stat(other)?.parent === pid);
}
