// documents.ts — the contracts, and what a problem means: for programs and for people, without a token.
import type { FastifyInstance } from 'fastify';
import { asyncapi } from '../asyncapi.ts';
import { documentOf } from './openapi.ts';
import { isProblemType, notFound, PROBLEMS, problemPage } from './problems.ts';

export function documentRoutes(app: FastifyInstance): void {
  let openapi: string | undefined;
  let events: string | undefined;

  app.get('/openapi.json', (_request, reply) => {
    openapi ??= JSON.stringify(documentOf(app));
    return reply.type(JSON_TYPE).serializer(asItIs).send(openapi);
  });

  app.get('/asyncapi.json', (_request, reply) => {
    events ??= JSON.stringify(asyncapi());
    return reply.type(JSON_TYPE).serializer(asItIs).send(events);
  });

  app.get<{ Params: { type: string } }>('/problems/:type', (request, reply) => {
    const { type } = request.params;
    if (!isProblemType(type)) throw notFound('such type of problem');
    if (/text\/html/.test(request.headers.accept ?? ''))
      return reply.type('text/html; charset=utf-8').send(problemPage(type));
    const [status, title, remedy] = PROBLEMS[type];
    return { type, status, title, remedy };
  });
}

const JSON_TYPE = 'application/json; charset=utf-8';
const asItIs = (text: unknown) => text as string;
