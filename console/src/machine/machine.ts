// machine.ts — the machine of the service, asked once for the whole page, and anew when the service has another one.
import { effect, signal } from '@preact/signals';
import type { MachineView, Problem } from '../../../src/api/contract.ts';
import { get, problemFor } from '../api.ts';
import { machineHash } from '../live.ts';
import { paintStates } from '../state-colours.ts';

export const machine = signal<MachineView | undefined>(undefined);
export const machineProblem = signal<Problem | undefined>(undefined);

let asked = false;

/** Any view that draws it calls this; asked is once. */
export function needMachine(): void {
  if (asked) return;
  asked = true;
  void askMachine();
  effect(() => {
    const now = machineHash.value;
    if (now !== undefined && machine.peek() !== undefined && machine.peek()?.hash !== now) void askMachine();
  });
}

export async function askMachine(): Promise<void> {
  try {
    const view = await get<MachineView>('machine');
    paintStates(view.states.map(({ id }) => id));
    machine.value = view;
    machineProblem.value = undefined;
  } catch (error) {
    machineProblem.value = problemFor(error);
  }
}
