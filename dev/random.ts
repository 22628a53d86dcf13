// random.ts — seeded randomness for loads and benchmarks: the same seed gives the same load on every machine.
//
// sfc32 passes PractRand. The low bits of a linear congruential generator repeat: 400,000 "random" events once touched 880
// users, and everything looked three times as fast. Whoever draws users says how many distinct ones came out.

export type Random = {
  /** A whole number from 0 to below `n`. `n` below 2^32. */
  below(n: number): number;
  /** True in `share` of the cases, 0 to 1. */
  chance(share: number): boolean;
  pick<T>(from: readonly T[]): T;
  hex(digits: number): string;
  bytes(length: number): Buffer;
};

export function createRandom(seed: number): Random {
  // Weyl constants instead of the seed alone: small seeds would start from nearly equal states.
  let a = seed >>> 0;
  let b = (seed ^ 0x9e3779b9) >>> 0;
  let c = 0x243f6a88;
  let counter = 1;
  function next(): number {
    const sum = (((a + b) | 0) + counter++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }
  for (let i = 0; i < 20; i++) next();

  // Multiplied, not taken modulo: the high bits decide.
  const below = (n: number) => Math.floor((next() / 2 ** 32) * n);
  return {
    below,
    chance: (share) => next() / 2 ** 32 < share,
    pick: (from) => from[below(from.length)] as (typeof from)[number],
    hex: (digits) => {
      let text = '';
      while (text.length < digits) text += next().toString(16).padStart(8, '0');
      return text.slice(0, digits);
    },
    bytes: (length) => Buffer.from(Array.from({ length }, () => below(256))),
  };
}

/** Draws 0 to below `n` so that the first is drawn most: rank r in proportion to 1 / (r + 1). */
export function zipf(n: number): (random: Random) => number {
  const sums = new Float64Array(n);
  let total = 0;
  for (let rank = 0; rank < n; rank++) {
    total += 1 / (rank + 1);
    sums[rank] = total;
  }
  return (random) => {
    const at = (random.below(2 ** 31) / 2 ** 31) * total;
    let low = 0;
    let high = n - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] as number) > at) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}
