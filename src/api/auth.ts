// auth.ts — who is asking, and what they may: nothing, until a route says which role it needs.
//
// Owns:          tokens, sessions, roles, the permission to see payloads, and what stops a foreign page from acting (CSRF, DNS).
// Does not own:  the settings (settings.ts), what is masked for whom (shown.ts).
//
// J1  Deny by default: a route without a role in its config does not come up, and a caller without that role does not get in.
// J2  A token is compared in constant time and never kept: the cookie holds role, name and end, sealed by an HMAC whose key is made
//     of HASH_SECRET, the tokens and the issuer, so other ones end the sessions of those before.
// J3  An act needs a bearer token, or a header that a foreign page can not send without being asked first (SameSite=Strict stands
//     beside it). Without any token (mode `none`) only names of this machine are answered: a foreign name that leads here is not.
// J4  Whoever sees personal data leaves a row of `audit` first.
import { createHmac, hash, timingSafeEqual } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { createRemoteJWKSet, errors, type JWTPayload, jwtVerify } from 'jose';
import { writeAudit } from '../audit.ts';
import { type Config, isLoopback } from '../config.ts';
import type { Reach } from './app.ts';
import { Refused } from './problems.ts';
import type { Sight } from './shown.ts';

export type Role = 'viewer' | 'operator';
/** `public`: asked of nobody. */
export type Needed = Role | 'public';
export type Caller = { role: Role; who: string; mayReveal: boolean };

declare module 'fastify' {
  interface FastifyContextConfig {
    role?: Needed;
    /** It only reads, though it is a POST. */
    reads?: true;
  }
  interface FastifyRequest {
    /** Null: nobody, or nobody known. */
    caller: Caller | null;
    /** What keeps a caller with a token from being one. */
    refusal: Refused | null;
  }
}

export type AuthSettings = Config['auth'] & {
  host: string;
  basePath: string;
  secret: string;
};
export type Auth = {
  mode: AuthSettings['mode'];
  /** False: without tokens it is only for this machine, and it can be reached from others. */
  isServed: boolean;
  payloads: AuthSettings['payloads'];
  /** Notes who is asking. Throws nothing: what is wrong with a token stands in `refusal`. */
  recognise(request: FastifyRequest): Promise<void>;
  /** Throws Refused where the caller may not use this route. */
  admit(request: FastifyRequest): void;
  /** The caller that a token is for, and a cookie for it. Throws Refused. */
  login(token: string, reply: FastifyReply): Promise<Caller>;
  logout(reply: FastifyReply): void;
};

const COOKIE = 'customer-service';
const SESSION_SECONDS = 12 * 60 * 60;

export function createAuth(settings: AuthSettings, clock: () => number = Date.now): Auth {
  const { mode, payloads } = settings;
  const isServed = mode !== 'none' || isLoopback(settings.host);
  const tokens = tokensOf(settings);
  const key = createHmac('sha256', settings.secret)
    .update(JSON.stringify(['session', mode, tokens, settings.oidcIssuer, settings.oidcAudience]))
    .digest();
  const oidc = mode === 'oidc' ? oidcOf(settings) : undefined;
  const cookie = { path: settings.basePath, httpOnly: true, sameSite: 'strict' as const };

  return { mode, isServed, payloads, recognise, admit, login, logout };

  async function recognise(request: FastifyRequest): Promise<void> {
    if (mode === 'none') {
      request.caller = callerOf('operator', 'local');
      return;
    }
    const bearer = bearerOf(request);
    try {
      const claims = bearer === undefined ? unsealed(request.cookies[COOKIE], key, clock) : await claimsOf(bearer);
      request.caller = claims === undefined ? null : callerOf(claims.role, claims.who);
    } catch (error) {
      request.refusal = error instanceof Refused ? error : new Refused('unauthenticated', NOT_ACCEPTED);
    }
  }

  function admit(request: FastifyRequest): void {
    const { role, reads } = request.routeOptions.config;
    if (mode === 'none') {
      assertLocalName(request);
      assertNoProxy(request);
    }
    if (request.method !== 'GET' && request.method !== 'HEAD' && reads !== true) assertOwnPage(request);
    if (role === 'public') return;
    if (request.refusal !== null) throw request.refusal;
    if (request.caller === null) throw new Refused('unauthenticated', '');
    if (role === 'operator' && request.caller.role !== 'operator')
      throw new Refused('forbidden', 'It needs the role operator.');
  }

  async function login(token: string, reply: FastifyReply): Promise<Caller> {
    if (mode === 'none') return callerOf('operator', 'local');
    const claims = await claimsOf(token);
    const endsAt = Math.min(claims.endsAt ?? Number.POSITIVE_INFINITY, Math.floor(clock() / 1_000) + SESSION_SECONDS);
    // A proxy's word is enough: whoever makes it up loses the cookie on an open line.
    const secure = reply.request.protocol === 'https' || reply.request.headers['x-forwarded-proto'] === 'https';
    reply.setCookie(COOKIE, sealed({ ...claims, endsAt }, key), {
      ...cookie,
      secure,
      expires: new Date(endsAt * 1_000),
    });
    return callerOf(claims.role, claims.who);
  }

  function logout(reply: FastifyReply): void {
    reply.clearCookie(COOKIE, cookie);
  }

  async function claimsOf(token: string): Promise<Claims> {
    if (oidc !== undefined) return await oidc(token);
    const role = tokens.find(([, digest]) => isSame(digest, digestOf(token)))?.[0];
    if (role === undefined) throw new Refused('unauthenticated', NOT_ACCEPTED);
    return { role, who: role };
  }

  function callerOf(role: Role, who: string): Caller {
    return { role, who, mayReveal: payloads === 'all' || (payloads === 'operators' && role === 'operator') };
  }
}

const NOT_ACCEPTED = 'The token is not one that is accepted here.';

/** Who is asking, of a route that needs a role. */
export function callerOf(request: FastifyRequest): Caller {
  if (request.caller === null) throw new Refused('unauthenticated', '');
  return request.caller;
}

/** How much of what may be personal is shown: all of it only where that was asked for and is allowed, and then it is written down (J4).
 *  `scope`: of what. Throws Refused. */
export async function sightOf(
  request: FastifyRequest,
  { acts, payloads }: Pick<Reach, 'acts' | 'payloads'>,
  scope: Record<string, unknown>,
): Promise<Sight> {
  const { reveal } = request.query as { reveal?: boolean };
  if (reveal !== true) return payloads === 'off' ? 'hidden' : 'masked';
  const { mayReveal, who } = callerOf(request);
  if (!mayReveal) throw new Refused('forbidden', 'It needs the permission to see personal data (AUTH_PAYLOADS).');
  await writeAudit(acts.db, { who, verb: 'reveal', scope }, {});
  return 'revealed';
}

/** Looking for an address: whoever finds its user knows it. It is written down, without the address. Throws Refused. */
export async function assertMayAskForAddress(request: FastifyRequest, { acts }: Pick<Reach, 'acts'>): Promise<void> {
  const { mayReveal, who } = callerOf(request);
  if (!mayReveal)
    throw new Refused('forbidden', 'Looking for an e-mail address needs the permission to see them (AUTH_PAYLOADS).');
  await writeAudit(acts.db, { who, verb: 'reveal', scope: { search: 'e-mail' } }, {});
}

/** `endsAt`: seconds since 1970. */
type Claims = { role: Role; who: string; endsAt?: number };

function tokensOf({ mode, viewerToken, operatorToken }: AuthSettings): [Role, string][] {
  if (mode !== 'token') return [];
  const given = [
    ['viewer', viewerToken],
    ['operator', operatorToken],
  ] as const;
  return given.flatMap(([role, token]): [Role, string][] => (token === undefined ? [] : [[role, digestOf(token)]]));
}

/** Of equal length whatever was sent, which the comparison needs. */
function digestOf(token: string): string {
  return hash('sha256', token, 'hex');
}
function isSame(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

function sealed(claims: Claims, key: Buffer): string {
  const text = Buffer.from(JSON.stringify(claims)).toString('base64url');
  return `${text}.${sealOf(text, key)}`;
}
function sealOf(text: string, key: Buffer): string {
  return createHmac('sha256', key).update(text).digest('base64url');
}

/** Undefined: there is none, or it has ended. */
function unsealed(cookie: string | undefined, key: Buffer, clock: () => number): Claims | undefined {
  const [text = '', seal = ''] = cookie?.split('.') ?? [];
  if (text === '' || !isSame(digestOf(seal), digestOf(sealOf(text, key)))) return undefined;
  const claims = JSON.parse(Buffer.from(text, 'base64url').toString()) as Required<Claims>;
  return claims.endsAt * 1_000 > clock() ? claims : undefined;
}

/** Of a name that an attacker's own DNS leads here, a browser would take this service for the attacker's. */
function assertLocalName({ host }: FastifyRequest): void {
  const name = host.replace(/:\d+$/, '').toLowerCase();
  if (!isLoopback(name) && !name.endsWith('.localhost'))
    throw new Refused('forbidden', 'Without AUTH_MODE it answers under names of this machine only, such as localhost.');
}

/** A proxy on this machine asks under a local name too, for whoever asks the proxy. */
function assertNoProxy({ headers }: FastifyRequest): void {
  const sign = Object.keys(headers).find((name) => PROXIES.has(name) || name.startsWith('x-forwarded-'));
  if (sign !== undefined)
    throw new Refused(
      'forbidden',
      `A proxy asks for somebody (${sign}): set AUTH_MODE, or everybody were an operator.`,
    );
}
const PROXIES: ReadonlySet<string> = new Set(['forwarded', 'via', 'x-real-ip']);

/** No other page can send these without being asked for permission first, which is never given. */
function assertOwnPage(request: FastifyRequest): void {
  if (bearerOf(request) !== undefined || request.headers['x-requested-with'] === REQUESTED_WITH) return;
  throw new Refused('forbidden', `An act needs a bearer token, or the header x-requested-with: ${REQUESTED_WITH}.`);
}
const REQUESTED_WITH = 'customer-service-console';

function bearerOf({ headers }: FastifyRequest): string | undefined {
  return /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
}

// --- OpenID Connect ----------------------------------------------------------------------------------------------------------

/** None that share a secret: the provider alone signs. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
const PROVIDER_MS = 5_000;

function oidcOf({
  oidcIssuer = '',
  oidcAudience = '',
  oidcRoleClaim,
}: AuthSettings): (token: string) => Promise<Claims> {
  let keys: Promise<ReturnType<typeof createRemoteJWKSet>> | undefined;
  return async (token) => {
    keys ??= keysOf(oidcIssuer);
    const found = await keys.catch(() => {
      keys = undefined; // asked again
      throw new Refused('unavailable', 'The identity provider can not be reached.', { retryAfterSeconds: 10 });
    });
    const verified = await jwtVerify(token, found, {
      issuer: oidcIssuer,
      audience: oidcAudience,
      algorithms: ALGORITHMS,
      requiredClaims: ['sub', 'exp'],
    }).catch((error) => {
      if (error instanceof errors.JOSEError && !(error instanceof errors.JWKSTimeout))
        throw new Refused('unauthenticated', `The token is not accepted (${error.code}).`);
      throw new Refused('unavailable', 'The identity provider can not be reached.', { retryAfterSeconds: 10 });
    });
    return claimsIn(verified.payload, oidcRoleClaim);
  };
}

async function keysOf(issuer: string): Promise<ReturnType<typeof createRemoteJWKSet>> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const answer = await fetch(url, { signal: AbortSignal.timeout(PROVIDER_MS) });
  const { jwks_uri } = (await answer.json()) as { jwks_uri: string };
  return createRemoteJWKSet(new URL(jwks_uri), { timeoutDuration: PROVIDER_MS });
}

/** The claim is a text or a list of texts, maybe deeper: "realm_access.roles". */
function claimsIn(payload: JWTPayload, claim: string): Claims {
  let at: unknown = payload[claim];
  if (at === undefined) at = claim.split('.').reduce<unknown>((inner, name) => Object(inner)[name] as unknown, payload);
  const roles = [at].flat();
  const role = (['operator', 'viewer'] as const).find((each) => roles.includes(each));
  if (role === undefined)
    throw new Refused('forbidden', `The token names neither viewer nor operator in ${claim} (AUTH_OIDC_ROLE_CLAIM).`);
  return { role, who: payload.sub as string, endsAt: payload.exp as number };
}
