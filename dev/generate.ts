// generate.ts — writes what is made from code into the documents; with `--check` it only says what is not up to date.
//
//   node dev/generate.ts [--check]
//
// A block in a document stands between `<!-- NAME:start -->` and `<!-- NAME:end -->`.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { dashboardJson } from '../deploy/grafana/dashboard.ts';
import { toBriefMermaid } from '../machines/picture.ts';
import { configTable, envExample } from './config-table.ts';
import { costTable } from './cost-table.ts';
import { operateTable } from './operate-table.ts';

const ROOT = new URL('../', import.meta.url);

type Generated = { file: string; block?: string; text: () => string };
const GENERATED: readonly Generated[] = [
  { file: 'README.md', block: 'config', text: configTable },
  { file: 'README.md', block: 'machine', text: () => `\`\`\`mermaid\n${toBriefMermaid().trim()}\n\`\`\`` },
  { file: 'docs/operations.md', block: 'cost', text: costTable },
  { file: 'docs/operations.md', block: 'operate', text: operateTable },
  { file: '.env.example', text: envExample },
  { file: 'deploy/grafana/customer-service.json', text: dashboardJson },
];

/** The files that differ from what the code makes of them; written unless `check`. */
export function generate({ check }: { check: boolean }): string[] {
  const stale: string[] = [];
  for (const { file, block, text } of GENERATED) {
    const path = fileURLToPath(new URL(file, ROOT));
    const before = readFileSync(path, 'utf8');
    const after = block === undefined ? text() : withBlock(file, before, block, text());
    if (after === before) continue;
    stale.push(block === undefined ? file : `${file} (${block})`);
    if (!check) writeFileSync(path, after);
  }
  return stale;
}

function withBlock(file: string, document: string, name: string, text: string): string {
  const start = `<!-- ${name}:start -->`;
  const end = `<!-- ${name}:end -->`;
  const from = document.indexOf(start);
  const to = document.indexOf(end);
  if (from < 0 || to < from) throw new Error(`${file} has no block ${start} … ${end}`);
  return `${document.slice(0, from + start.length)}\n${text.trim()}\n${document.slice(to)}`;
}

if (import.meta.main) {
  const check = process.argv.includes('--check');
  const stale = generate({ check });
  for (const file of stale) console.log(check ? `not up to date: ${file}` : `written: ${file}`);
  if (check && stale.length > 0) {
    console.log('Run `npm run generate` and commit the result.');
    process.exit(1);
  }
}
