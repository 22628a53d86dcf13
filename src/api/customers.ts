// customers.ts — /customers: who there is, and what is around each.
import { Type } from 'typebox';
import { countAround, findCustomers, readCustomer } from '../queries/customers.ts';
import { readHoldsCounted } from '../queries/holds.ts';
import { type App, Query, type Reach, Said, TextId } from './app.ts';
import { CustomerItem, CustomerView, pageOf as PageOf } from './contract.ts';
import { Page, pageAsked, pageOf } from './paging.ts';
import { notFound } from './problems.ts';

export function customerRoutes(app: App, { read }: Reach): void {
  app.get(
    '/customers',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Customers by id.',
        querystring: Query({ q: Type.Optional(Said('An id, or the beginning of one.')), ...Page }),
        response: { 200: PageOf(CustomerItem) },
      },
    },
    async ({ query }) => {
      const { after, limit } = pageAsked<string>('customers', query, 'text');
      const rows = await findCustomers(read, query.q, { after, limit: limit + 1 });
      return pageOf(
        'customers',
        query,
        rows,
        ({ customerId }) => customerId,
        (row) => row,
      );
    },
  );

  app.get(
    '/customers/:id',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'One customer, how many users it has, and what waits for it or of them.',
        params: TextId,
        response: { 200: CustomerView },
      },
    },
    async ({ params: { id } }) => {
      const [customer, holds, around] = await Promise.all([
        readCustomer(read, id),
        readHoldsCounted(read, { of: { customerId: id } }),
        countAround(read, id),
      ]);
      if (customer === undefined && holds.length === 0 && around.users + around.waiting === 0)
        throw notFound('such customer');
      return { customer: customer ?? null, hold: holds[0] ?? null, ...around };
    },
  );
}
