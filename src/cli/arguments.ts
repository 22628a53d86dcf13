// arguments.ts — words that a command takes, read and refused alike everywhere.
import { InvalidArgumentError } from 'commander';

/** How many rows to show. */
export function limit(text: string): number {
  const n = Number(text);
  if (!/^\d+$/.test(text) || n < 1 || n > 100_000) throw new InvalidArgumentError('A whole number from 1 to 100000.');
  return n;
}

/** The number of a row: kept as text, it may have 64 bits. */
export function rowId(text: string): string {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('A whole number.');
  return text;
}

export function partition(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('The number of a partition.');
  return Number(text);
}

export function seconds(text: string): number {
  if (!/^\d{1,6}(\.\d+)?$/.test(text)) throw new InvalidArgumentError('A number of seconds.');
  return Number(text);
}

/** The words that are taken; what is close is suggested by commander. */
export function oneOf<const W extends readonly string[]>(words: W): (text: string) => W[number] {
  return (text) => {
    const found = words.find((word) => word === text);
    if (found === undefined) throw new InvalidArgumentError(`One of ${words.join(', ')}.`);
    return found;
  };
}
