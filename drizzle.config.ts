import { defineConfig } from 'drizzle-kit';

// `npm run db:generate` writes the next migration from db/schema.ts; `npm run db:migrate` applies what is missing.
export default defineConfig({ dialect: 'postgresql', schema: './db/schema.ts', out: './db/migrations' });
