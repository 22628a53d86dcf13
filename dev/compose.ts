// compose.ts — checks docker-compose.yml without a container engine: its syntax, the official schema, our own rules.
//
// Owns:          what we promise of that file: pinned images, health checks, the order of start, ports on loopback only,
//                the service's settings, no more rights than needed.
// Does not own:  whether the containers start and do their work (deploy/README.md).

import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parseDocument } from 'yaml';

type Service = {
  image?: string;
  build?: unknown;
  ports?: (string | number | { host_ip?: string })[];
  healthcheck?: { test?: string | string[]; disable?: boolean };
  depends_on?: string[] | Record<string, { condition: string }>;
  environment?: Record<string, unknown>;
  security_opt?: string[];
  cap_drop?: string[];
  read_only?: boolean;
  privileged?: boolean;
  network_mode?: string;
  mem_limit?: string;
};
type Services = Record<string, Service>;

/** What is wrong with a compose file, a sentence each. Default: our own file. */
export function checkCompose(text: string = readBeside('../docker-compose.yml')): string[] {
  const document = parseDocument(text, { merge: true });
  const syntax = [...document.errors, ...document.warnings].map((error) => `not YAML: ${error.message}`);
  if (syntax.length > 0) return syntax;
  const file: unknown = document.toJS();
  const shape = againstSchema(file);
  if (shape.length > 0) return shape; // our rules read what the schema promises
  const services = (file as { services?: Services }).services ?? {};
  return [...variables(text), ...startOrder(services), ...serviceSettings(services), ...everyService(services)];
}

// Not strict: the schema has keywords and a format of its own.
const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
const matchesSchema = ajv.compile(JSON.parse(readBeside('compose-spec.json')));

function againstSchema(file: unknown): string[] {
  if (matchesSchema(file)) return [];
  return (matchesSchema.errors ?? []).map(({ instancePath, message, params }) => {
    const property = params.additionalProperty ?? params.unevaluatedProperty ?? '';
    return `against the schema: ${instancePath || '/'} ${message} ${property}`.trim();
  });
}

/** `docker compose up` works with nothing set. `$$` is a dollar sign meant for the container. */
function variables(text: string): string[] {
  const used = text.replaceAll('$$', '').match(/\$(\{[^}]*\}|\w+)/g) ?? [];
  return used.filter((use) => !/^\$\{\w+:-[^}]+\}$/.test(use)).map((use) => `${use} has no default`);
}

const ORDER = [
  ['kafka', 'postgres'],
  ['service', 'postgres'],
  ['service', 'kafka'],
  ['producers', 'service'],
] as const;

/** Each waits until the one before it is ready, not merely started. */
function startOrder(services: Services): string[] {
  return ORDER.filter(([one, other]) => {
    const waits = services[one]?.depends_on ?? {};
    return Array.isArray(waits) || waits[other]?.condition !== 'service_healthy';
  }).map(([one, other]) => `${one} does not wait until ${other} is healthy`);
}

const REQUIRED: Record<string, string[]> = {
  service: ['KAFKA_BROKERS', 'DB_HOST', 'DB_PORT', 'DB_DATABASE', 'DB_USER', 'DB_PASSWORD', 'REDIS_URL', 'HASH_SECRET'],
  producers: ['KAFKA_BROKERS', 'DB_HOST', 'DB_PORT', 'DB_DATABASE', 'DB_USER', 'DB_PASSWORD'],
};

function serviceSettings(services: Services): string[] {
  const missing = Object.entries(REQUIRED).flatMap(([name, variables]) =>
    variables
      .filter((variable) => !services[name]?.environment?.[variable])
      .map((variable) => `${name} is not given ${variable}`),
  );
  // Loopback within its own container would be out of reach of everything else.
  const reachable = services.service?.environment?.HTTP_HOST === '0.0.0.0';
  return reachable ? missing : [...missing, 'service does not listen on HTTP_HOST 0.0.0.0'];
}

function everyService(services: Services): string[] {
  return Object.entries(services).flatMap(([name, service]) =>
    [...image(service), ...ports(service), ...health(service), ...rights(service), ...memory(service)].map(
      (problem) => `${name} ${problem}`,
    ),
  );
}

/** A tag that starts with a number, or a digest. */
function image({ image }: Service): string[] {
  if (image === undefined) return ['has no image name'];
  return /(:v?\d[\w.-]*|@sha256:[0-9a-f]{64})$/.test(image) ? [] : [`has no pinned image: ${image}`];
}

function ports({ ports, network_mode }: Service): string[] {
  const open = (ports ?? []).filter((port) =>
    typeof port === 'object' ? port.host_ip !== '127.0.0.1' : !/^127\.0\.0\.1:[^:]/.test(String(port)),
  );
  const problems = open.map((port) => `publishes beyond 127.0.0.1: ${JSON.stringify(port)}`);
  return network_mode === 'host' ? [...problems, "uses the machine's own network"] : problems;
}

/** Whatever publishes a port is a server. */
function health({ ports, healthcheck }: Service): string[] {
  if (ports === undefined) return [];
  const checks = healthcheck?.test !== undefined && !healthcheck.disable && healthcheck.test[0] !== 'NONE';
  return checks ? [] : ['is a server without a health check'];
}

function rights(service: Service): string[] {
  const problems: string[] = [];
  if (service.privileged) problems.push('is privileged');
  if (!service.security_opt?.includes('no-new-privileges:true')) problems.push('may gain new privileges');
  if (service.build === undefined) return problems; // other people's images need some to start
  if (!service.cap_drop?.includes('ALL')) problems.push('keeps capabilities');
  if (!service.read_only) problems.push('can write to its image');
  return problems;
}

/** A limit, and for Node a heap below it that leaves a quarter for what is not heap. */
function memory({ mem_limit, build, environment }: Service): string[] {
  const limit = megabytes(mem_limit);
  if (limit === undefined) return ['has no memory limit'];
  if (build === undefined) return [];
  const heap = /--max-old-space-size=(\d+)/.exec(String(environment?.NODE_OPTIONS))?.[1];
  if (heap === undefined) return ['has no limit of its heap'];
  return Number(heap) <= 0.75 * limit ? [] : [`has a heap of ${heap} MB within a limit of ${limit} MB`];
}

function megabytes(size: string | undefined): number | undefined {
  const [, number, unit] = /^(\d+)([mg])$/.exec(size ?? '') ?? [];
  if (number === undefined) return undefined;
  return Number(number) * (unit === 'g' ? 1024 : 1);
}

function readBeside(path: string): string {
  return readFileSync(new URL(path, import.meta.url), 'utf8');
}

if (import.meta.main) {
  const problems = checkCompose();
  for (const problem of problems) console.log(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
