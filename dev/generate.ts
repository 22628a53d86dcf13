// generate.ts — writes what is made from code into the documents; with `--check` it only says what is not up to date.
//
//   node dev/generate.ts [--check]
//
// A block in a document stands between `<!-- NAME:start -->` and `<!-- NAME:end -->`.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { dashboardJson } from '../deploy/grafana/dashboard.ts';
import { picture } from '../machines/picture.ts';
import { openapi } from '../src/api/openapi.ts';
import { asyncapi } from '../src/asyncapi.ts';
import { layout } from '../src/drawing/layout.ts';
import { toSvg } from '../src/drawing/svg.ts';
import { configTable, envExample } from './config-table.ts';
import { costTable } from './cost-table.ts';
import { operateTable } from './operate-table.ts';

const ROOT = new URL('../', import.meta.url);

type Generated = { file: string; block?: string; text: () => string | Promise<string> };
const GENERATED: readonly Generated[] = [
  { file: 'README.md', block: 'config', text: configTable },
  { file: 'docs/operations.md', block: 'cost', text: costTable },
  { file: 'docs/operations.md', block: 'operate', text: operateTable },
  { file: '.env.example', text: envExample },
  { file: 'deploy/grafana/customer-service.json', text: dashboardJson },
  { file: 'docs/machine.svg', text: async () => toSvg(picture(), await layout(picture(), 'LR')) },
  { file: 'docs/asyncapi.json', text: () => `${JSON.stringify(asyncapi(), null, 2)}\n` },
  { file: 'docs/openapi.json', text: async () => `${JSON.stringify(await openapi(), null, 2)}\n` },
];

/** The files that differ from what the code makes of them; written unless `check`. */
export async function generate({ check }: { check: boolean }): Promise<string[]> {
  const stale: string[] = [];
  for (const { file, block, text } of GENERATED) {
    const path = fileURLToPath(new URL(file, ROOT));
    const before = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const after = block === undefined ? await text() : withBlock(file, before, block, await text());
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
  const stale = await generate({ check });
  for (const file of stale) console.log(check ? `not up to date: ${file}` : `written: ${file}`);
  if (check && stale.length > 0) {
    console.log('Run `npm run generate` and commit the result.');
    process.exit(1);
  }
}
