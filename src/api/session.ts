// session.ts — /session, /login, /logout: who is asking, and how a browser becomes somebody.
import { Type } from 'typebox';
import { HASH, user, VERSION } from '../../machines/index.ts';
import { SERVICE_VERSION } from '../version.ts';
import type { App, Reach } from './app.ts';
import type { Auth, Caller } from './auth.ts';
import { Session } from './contract.ts';

export function sessionRoutes(app: App, { jaegerUrl }: Reach, auth: Auth): void {
  const sessionOf = (caller: Caller | null): Session => ({
    mode: auth.mode,
    role: caller?.role ?? null,
    who: caller?.who ?? null,
    mayReveal: caller?.mayReveal ?? false,
    jaegerUrl,
    version: SERVICE_VERSION,
    machine: { id: user.id, version: VERSION, hash: HASH },
  });

  app.get(
    '/session',
    {
      config: { role: 'public' },
      schema: { summary: 'Who is asking, and what this service is.', response: { 200: Session } },
    },
    async ({ caller }) => sessionOf(caller),
  );

  app.post(
    '/login',
    {
      config: { role: 'public' },
      schema: {
        summary: 'A token in, a cookie out: for browsers, whose event stream sends no header.',
        body: Type.Object({ token: Type.String({ minLength: 1, maxLength: 10_000 }) }, { additionalProperties: false }),
        response: { 200: Session },
      },
    },
    async (request, reply) => sessionOf(await auth.login(request.body.token, reply)),
  );

  app.post(
    '/logout',
    {
      config: { role: 'public' },
      schema: { summary: 'Ends the session of this browser.', response: { 200: Session } },
    },
    async (_request, reply) => {
      auth.logout(reply);
      return sessionOf(null);
    },
  );
}
