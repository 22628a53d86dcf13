import { describe, expect, test } from 'vitest';
import { isNewGo, javaMajor } from '../../dev/found.ts';

describe('the Java of this machine is recognised', () => {
  test('since Java 9 the first number counts', () => {
    expect(javaMajor('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)')).toBe(17);
    expect(javaMajor('java version "21" 2023-09-19 LTS')).toBe(21);
  });
  test('before Java 9 the second number counts, so Java 8 is not taken for new', () => {
    expect(javaMajor('java version "1.8.0_402"')).toBe(8);
  });
  test('a notice printed first does not hide it', () => {
    expect(javaMajor('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "25-ea" 2025-09-16')).toBe(25);
  });
  test('no Java, or a stub that only complains, is none', () => {
    expect(javaMajor(undefined)).toBe(0);
    expect(javaMajor('The operation couldn’t be completed. Unable to locate a Java Runtime.')).toBe(0);
  });
});

test.each([
  ['go version go1.26.8 linux/amd64', true],
  ['go version go1.23rc1 darwin/arm64', true],
  ['go version go2.0 linux/amd64', true],
  ['go version go1.19.8 linux/amd64', false],
  ['go version devel +abc', false],
  [undefined, false],
])('a Go that builds Jaeger: %j is %j', (text, expected) => {
  expect(isNewGo(text)).toBe(expected);
});
