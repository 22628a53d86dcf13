// found.ts — what this machine has to start servers with.

import { execFile } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

export type Machine = {
  /** `answers`, or why there is none. */
  engine: 'answers' | 'no docker' | 'docker does not answer' | 'docker has no compose';
  /** Programs that can be run here. Java: 17 or newer. */
  java: string | undefined;
  maven: string | undefined;
  redis: string | undefined;
  /** 1.23 or newer, which Jaeger asks for. */
  go: string | undefined;
};

/** Looks for everything at once; 3 s at most. */
export async function lookAround(): Promise<Machine> {
  const [engine, java, go] = await Promise.all([findEngine(), findJava(), findGo()]);
  return { engine, java, go, maven: onPath('mvn'), redis: onPath('redis-server') };
}

async function findEngine(): Promise<Machine['engine']> {
  const docker = onPath('docker');
  if (docker === undefined) return 'no docker';
  const [info, compose] = await Promise.all([
    output(docker, ['info', '--format', '{{.ServerVersion}}']),
    output(docker, ['compose', 'version']),
  ]);
  if (info === undefined) return 'docker does not answer';
  return compose === undefined ? 'docker has no compose' : 'answers';
}

/** The `java` to use: that of JAVA_HOME, else the one on PATH, if it is new enough for Kafka 4. */
async function findJava(): Promise<string | undefined> {
  const home = process.env.JAVA_HOME;
  for (const java of [home && join(home, 'bin', 'java'), onPath('java')]) {
    if (java && javaMajor(await output(java, ['-version'])) >= 17) return java;
  }
  return undefined;
}

/** 17 from `openjdk version "17.0.15" 2025-04-15`; 8 from `java version "1.8.0_402"`; 0 from anything else. */
export function javaMajor(text: string | undefined): number {
  const [, first, second] = /version "(\d+)(?:\.(\d+))?/.exec(text ?? '') ?? [];
  return Number(first === '1' ? second : first) || 0;
}

async function findGo(): Promise<string | undefined> {
  const go = onPath('go');
  return go !== undefined && isNewGo(await output(go, ['version'])) ? go : undefined;
}

/** `go version go1.26.8 linux/amd64` is; anything that is no such line is not. */
export function isNewGo(text: string | undefined): boolean {
  const [, major, minor] = /version go(\d+)\.(\d+)/.exec(text ?? '') ?? [];
  return Number(major) > 1 || Number(minor) >= 23;
}

/** The program of that name; undefined: none on PATH. */
export function onPath(program: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  return folders.map((folder) => join(folder, program)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** What a program prints, or undefined if it fails or takes longer than 3 s. */
export async function output(path: string, args: string[]): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await promisify(execFile)(path, args, { timeout: 3000, killSignal: 'SIGKILL' });
    return `${stdout}${stderr}`;
  } catch {
    return undefined;
  }
}
