// repeats.ts — an act that is sent twice is done once: the Idempotency-Key.
//
// Owns:          the rows of `idempotency`. Does not own: what an act does.
//
// N1  Whoever sends a key again with the same act gets the first answer again, word for word; with another act: a conflict.
// N2  The key is claimed before the act and kept with its answer. An act that was refused gives its key back: nothing was done.
// N3  Where a process, or its connection, was cut off between the two, nobody knows: whoever comes again is told so, and that `audit`
//     knows.
import { hash } from 'node:crypto';
import { sql } from 'drizzle-orm';
import type { FastifyRequest } from 'fastify';
import type { Db } from '../../db/client.ts';
import type { App } from './app.ts';
import { callerOf } from './auth.ts';
import { Refused } from './problems.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The key that this request has claimed, and the person it is of. */
    claim: Claim | null;
  }
}
type Claim = { who: string; key: string };

const CHANGES = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);
const KEY = /^[\x21-\x7e]{1,200}$/;

/** Looks after the acts of `app`: all routes that change something. */
export function onceEach(app: App, db: Db): void {
  app.decorateRequest('claim', null);
  app.addHook('preHandler', async (request, reply) => {
    const key = request.headers['idempotency-key'];
    const { role, reads } = request.routeOptions.config;
    if (key === undefined || !CHANGES.has(request.method) || role === 'public' || reads === true) return;
    if (typeof key !== 'string' || !KEY.test(key))
      throw new Refused('invalid-request', 'Idempotency-Key: 1 to 200 printable ASCII characters without spaces.', {
        errors: [{ detail: 'can not be used', pointer: '/headers/idempotency-key' }],
      });
    const claim = { who: callerOf(request).who, key };
    const before = await claimed(db, claim, request);
    if (before === undefined) {
      request.claim = claim;
      return;
    }
    if (before.location !== null) reply.header('location', before.location);
    return reply
      .code(before.status)
      .type('application/json; charset=utf-8')
      .header('idempotency-replayed', 'true')
      .serializer((text: string) => text)
      .send(before.reply);
  });
  app.addHook('onSend', async (request, reply, payload) => {
    const { claim } = request;
    if (claim === null) return;
    request.claim = null;
    const location = reply.getHeader('location');
    if (reply.statusCode < 400) await keep(db, claim, { status: reply.statusCode, location, reply: String(payload) });
    else if (!request.isUncertain) await giveBack(db, claim);
  });
}

type Answered = { status: number; location: string | null; reply: string };

/** Undefined: it is ours now. Else what was answered. Throws Refused where the key is another act's, or was never answered. */
async function claimed(db: Db, { who, key }: Claim, request: FastifyRequest): Promise<Answered | undefined> {
  const route = `${request.method} ${request.url}`.slice(0, 1_000);
  const bodyHash = hash('sha256', JSON.stringify(request.body ?? null), 'hex');
  const [made] = await db.execute(sql`
    with old as (delete from idempotency where at < now() - interval '1 day' and (who, key) <> (${who}, ${key}))
    insert into idempotency (who, key, route, body_hash) values (${who}, ${key}, ${route}, ${bodyHash})
        on conflict (who, key) do update set route = excluded.route, body_hash = excluded.body_hash, at = now(), status = null, reply = null
     where idempotency.at < now() - interval '1 day'
    returning 1`);
  if (made !== undefined) return undefined;
  const [row] = await db.execute<
    { route: string; bodyHash: string } & { [K in keyof Answered]: Answered[K] | null }
  >(sql`
    select route, body_hash as "bodyHash", status, location, reply from idempotency where who = ${who} and key = ${key}`);
  if (row === undefined) return await claimed(db, { who, key }, request); // given back meanwhile
  if (row.route !== route || row.bodyHash !== bodyHash)
    throw new Refused('conflict', 'This Idempotency-Key was sent with another act: take a new one.');
  if (row.status === null || row.reply === null)
    throw new Refused('conflict', 'This act is being done, or was cut off: `audit` says whether it was done.');
  return { status: row.status, location: row.location, reply: row.reply };
}

async function keep(
  db: Db,
  { who, key }: Claim,
  { status, location, reply }: { status: number; location: unknown; reply: string },
): Promise<void> {
  await db.execute(sql`
    update idempotency set status = ${status}::int, location = ${typeof location === 'string' ? location : null}, reply = ${reply}
     where who = ${who} and key = ${key}`);
}
async function giveBack(db: Db, { who, key }: Claim): Promise<void> {
  await db.execute(sql`delete from idempotency where who = ${who} and key = ${key}`);
}
