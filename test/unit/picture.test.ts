import { describe, expect, test } from 'vitest';
import { STATES, user } from '../../machines/index.ts';
import { picture, toMermaid } from '../../machines/picture.ts';

describe('the picture of the machine tells the whole truth', () => {
  const drawn = picture();

  test('every state is there, each as what it is', () => {
    expect(drawn.states.map(({ id }) => id).sort()).toEqual([...STATES].sort());
    expect(drawn.states.filter(({ kind }) => kind !== 'normal')).toEqual([
      { id: 'absent', kind: 'initial' },
      { id: 'deleted', kind: 'final' },
    ]);
  });

  test('every branch is a transition under the id that history rows carry, and on exactly one edge', () => {
    const ids = user.branches.map(({ id }) => id);
    expect(drawn.transitions.map(({ id }) => id)).toEqual(ids);
    expect(drawn.edges.flatMap(({ transitions }) => transitions).sort()).toEqual([...ids].sort());
  });

  test('two states have one edge however many events lead from one to the other', () => {
    const pairs = drawn.edges.map(({ source, target }) => `${source}|${target}`);
    expect(new Set(pairs).size).toBe(pairs.length);
  });

  test('what changes nothing is said to be skipped', () => {
    expect(drawn.transitions.find(({ id }) => id === 'active|USER_CREATED|0')).toMatchObject({
      target: null,
      changes: false,
      label: 'USER_CREATED skipped',
    });
  });

  test('a branch without guard behind others is the else', () => {
    expect(drawn.transitions.find(({ id }) => id === 'active|USER_ROLE_CHANGED|2')?.label).toBe(
      'USER_ROLE_CHANGED [else] / changeRole',
    );
  });
});

describe('the Mermaid text', () => {
  test('names every transition', () => {
    const lines = toMermaid().split('\n');
    for (const { source, target, label } of picture().transitions)
      expect(
        lines.some((line) => line.startsWith(`  ${source} --> ${target ?? source} : `) && line.includes(label)),
      ).toBe(true);
  });

  test('is this one', () => {
    expect(toMermaid()).toMatchInlineSnapshot(`
      "stateDiagram-v2
        [*] --> absent
        absent --> pending : USER_CREATED [customerKnown] / create
        pending --> pending : USER_CREATED skipped<br/>USER_STATUS_CHANGED [toPending] skipped<br/>USER_ROLE_CHANGED [sameRole] skipped<br/>USER_ROLE_CHANGED [else] / changeRole
        pending --> roleChanged : USER_STATUS_CHANGED [toActiveBeforeRoleChange]
        pending --> active : USER_STATUS_CHANGED [toActive]
        pending --> suspended : USER_STATUS_CHANGED [toSuspended]
        pending --> deleted : USER_DELETED
        active --> active : USER_CREATED skipped<br/>USER_STATUS_CHANGED [toActive] skipped<br/>USER_ROLE_CHANGED [sameRole] skipped<br/>USER_ROLE_CHANGED [confirmedSince] / changeRole
        active --> pending : USER_STATUS_CHANGED [toPending]
        active --> suspended : USER_STATUS_CHANGED [toSuspended]
        active --> roleChanged : USER_ROLE_CHANGED [else] / changeRole
        active --> deleted : USER_DELETED
        suspended --> suspended : USER_CREATED skipped<br/>USER_STATUS_CHANGED [toSuspended] skipped<br/>USER_ROLE_CHANGED [sameRole] skipped<br/>USER_ROLE_CHANGED [else] / changeRole
        suspended --> roleChanged : USER_STATUS_CHANGED [toActiveBeforeRoleChange]
        suspended --> active : USER_STATUS_CHANGED [toActive]
        suspended --> pending : USER_STATUS_CHANGED [toPending]
        suspended --> deleted : USER_DELETED
        roleChanged --> roleChanged : USER_CREATED skipped<br/>USER_STATUS_CHANGED [toActiveBeforeRoleChange] skipped<br/>USER_ROLE_CHANGED [sameRole] skipped<br/>USER_ROLE_CHANGED [else] / changeRole
        roleChanged --> active : USER_STATUS_CHANGED [toActive]
        roleChanged --> pending : USER_STATUS_CHANGED [toPending]
        roleChanged --> suspended : USER_STATUS_CHANGED [toSuspended]
        roleChanged --> deleted : USER_DELETED
        deleted --> [*]
      "
    `);
  });

  test('has no sign that would end a label', () => {
    for (const { label } of picture().transitions) expect(label).toMatch(/^[\w [\]/,]+$/);
  });
});
