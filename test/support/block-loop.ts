// block-loop.ts — for `node --import`: a process whose event loop stands still for 4 s whenever it gets SIGUSR2.
const BLOCKED_MS = 4_000;

process.on('SIGUSR2', () => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BLOCKED_MS);
});
