// config-table.ts — the settings as people read them: README's table and .env.example, both made from the schema.
import { asText, example, OPTIONS, type Option } from '../src/settings.ts';

const TITLES: Readonly<Record<string, string>> = {
  kafka: 'Kafka',
  database: 'Postgres',
  file: 'Files instead of Kafka',
  redis: 'Redis',
  http: 'Health checks, API and console',
  auth: 'Who may use the API and the console',
  log: 'Log',
  tracing: 'Traces',
  limits: 'Limits',
  secrets: 'Secrets',
};

/** The text between `<!-- config:start -->` and `<!-- config:end -->` of the README. */
export function configTable(): string {
  const rows = OPTIONS.map((option) => [
    `\`${option.name}\`${option.secret ? ' ¹' : ''}`,
    defaultOf(option),
    option.what,
    option.cost,
  ]);
  return [
    '| setting | default | what | cost |',
    '|---|---|---|---|',
    ...rows.map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`),
    '',
    '¹ A secret: redacted wherever it would be printed, and `NAME_FILE` may name a file that holds it.',
    '`DATABASE_URL` and `PGHOST`, `PGPORT`, `PGDATABASE`, `PGUSER`, `PGPASSWORD`, `PGSSLMODE` are read where the `DB_*` is missing.',
  ].join('\n');
}

function defaultOf({ default: value, required, name }: Option): string {
  if (required !== undefined) return '**required**';
  if (name === 'HASH_SECRET') return '**required** off loopback';
  // Long lists break where there is a space.
  return value === undefined ? 'none' : `\`${asText(value).replaceAll(',', '`, `')}\``;
}

/** `.env.example`: a copy of it is a valid `.env`, and so it is with every default uncommented. */
export function envExample(): string {
  const groups = Map.groupBy(OPTIONS, ({ group }) => group ?? 'secrets');
  const parts = [...groups].flatMap(([group, options]) => [
    `# --- ${TITLES[group] ?? group} ---`,
    '',
    ...options.flatMap((option) => [
      `# ${option.what}`,
      ...(option.cost === 'None.' ? [] : [`# ${option.cost}`]),
      `${option.required === undefined ? '#' : ''}${example(option.default === undefined ? option : { ...option, example: asText(option.default) })}`,
      '',
    ]),
  ]);
  return [
    '# Settings of the Customer Service: copy this to .env, which is read in the working directory. The environment wins.',
    '# Made from src/config.ts by `npm run generate`. What is commented out shows its default or an example.',
    '',
    ...parts,
  ].join('\n');
}
