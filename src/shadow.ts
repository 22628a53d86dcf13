// shadow.ts — a second table like one that is in use, and how it takes its place.
//
// Owns:          what a table is beside its rows: columns, indexes, constraints, settings, owner, rights; the names after the swap.
// Does not own:  the rows, the lock, the transaction.
//
// X1  What can not be carried over is found before, not missed afterwards: the facts of both tables are compared when the shadow
//     is made, and again under the lock, since a migration may have run meanwhile.
// X2  Whoever uses the table by its name finds the new one: a statement that waits for the lock looks the name up again.
import { type SQL, sql } from 'drizzle-orm';
import type { Tx } from '../db/client.ts';

/** `columns`: those that the rows of the new table will have values for. */
export type Names = { table: string; shadow: string; columns: readonly string[] };

/** The table stays as it is: the text says what stands in the way. */
export class NotReplaced extends Error {
  override name = 'NotReplaced';
}

/** Makes `shadow`, empty, in the place of one that was left over. Returns its oid. Throws NotReplaced, and what Postgres
 *  throws where this role is not the owner. */
export async function makeShadow(tx: Tx, names: Names): Promise<number> {
  const { table, shadow } = names;
  const [mine, other] = [sql.identifier(shadow), sql.identifier(table)];
  await tx.execute(sql`drop table if exists ${mine}`);
  await tx.execute(sql`create table ${mine} (like ${other} including all)`);
  const statements = await tx.execute<{ statement: string }>(carryOver(names));
  for (const { statement } of statements) await tx.execute(sql.raw(statement));
  await assertAlike(tx, names);
  return (await oidOf(tx, shadow)) as number;
}

/** What `like … including all` leaves out, as statements. Owner first: the rights are the owner's to give. */
function carryOver({ table, shadow }: Names): SQL {
  return sql`
    with o as (select * from pg_class where oid = ${table}::text::regclass),
         n as (select * from pg_class where oid = ${shadow}::text::regclass)
    select statement from (
      select 1 as step, format('alter table %I owner to %I', n.relname, pg_get_userbyid(o.relowner)) as statement
        from o, n where o.relowner <> n.relowner
      union all select 2, format('alter table %I set (%s)', n.relname, option) from o, n, unnest(o.reloptions) as option
      union all select 3, format('alter table %I set (toast.%s)', n.relname, option)
        from o join pg_class t on t.oid = o.reltoastrelid, n, unnest(t.reloptions) as option
      union all select 4, format('comment on table %I is %L', n.relname, obj_description(o.oid, 'pg_class'))
        from o, n where obj_description(o.oid, 'pg_class') is not null
      union all select distinct 5, format('revoke all on %I from %s', n.relname, ${grantee})
        from o, n, aclexplode(n.relacl) as acl where acl.grantee <> o.relowner
      union all select 6, format('grant %s on %I to %s%s', acl.privilege_type, n.relname, ${grantee}, ${grantable})
        from o, n, aclexplode(o.relacl) as acl where acl.grantee <> o.relowner
      union all select 7, format('grant %s (%I) on %I to %s%s', acl.privilege_type, a.attname, n.relname, ${grantee}, ${grantable})
        from o join pg_attribute a on a.attrelid = o.oid, n, aclexplode(a.attacl) as acl) x
     order by step`;
}
const grantee = sql.raw(`case acl.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(acl.grantee)) end`);
const grantable = sql.raw(`case when acl.is_grantable then ' with grant option' else '' end`);

/** Throws NotReplaced where the two differ in anything but their rows and the names that the swap sets right. */
export async function assertAlike(tx: Tx, { table, shadow, columns }: Names): Promise<void> {
  const [theirs, mine] = [await factsOf(tx, table), await factsOf(tx, shadow)];
  for (const column of await unknownColumns(tx, table, columns)) theirs.push(`values of column ${column}`);
  const missing = theirs.filter((fact) => !mine.includes(fact));
  const more = mine.filter((fact) => !theirs.includes(fact));
  if (missing.length === 0 && more.length === 0) return;
  const what = [...missing.map((fact) => `it has "${fact}"`), ...more.map((fact) => `it has not "${fact}"`)];
  throw new NotReplaced(
    `The table ${table} can not be put anew: ${what.slice(0, 3).join(', ')}, which a new table would not keep. Nothing was changed.`,
  );
}

/** What somebody has added, and only the old rows know. */
async function unknownColumns(tx: Tx, table: string, columns: readonly string[]): Promise<string[]> {
  const rows = await tx.execute<{ name: string }>(sql`
    select attname as name from pg_attribute
     where attrelid = ${table}::text::regclass and attnum > 0 and not attisdropped and attgenerated = ''
       and not attname = any(${sql.param(columns)}::text[])`);
  return rows.map(({ name }) => name);
}

async function factsOf(tx: Tx, name: string): Promise<string[]> {
  const rows = await tx.execute<{ fact: string }>(sql`
    with t as (select * from pg_class where oid = ${name}::text::regclass)
    select concat_ws(' ', 'column', row_number() over (order by attnum), attname, format_type(atttypid, atttypmod),
                     'collate ' || (select collname from pg_collation where oid = attcollation), case when attnotnull then 'not null' end,
                     'default ' || (select pg_get_expr(adbin, adrelid) from pg_attrdef where adrelid = attrelid and adnum = attnum),
                     attidentity, attgenerated, attstorage, attcompression, attstattarget, attoptions) as fact
      from t join pg_attribute on attrelid = t.oid where attnum > 0 and not attisdropped
    union all
    select concat_ws(' ', 'index', substring(pg_get_indexdef(indexrelid) from ' USING .*'), case when indisunique then 'unique' end,
                     case when indisclustered then 'clustered' end, case when indisreplident then 'replica identity' end)
      from t join pg_index on indrelid = t.oid
    union all select concat_ws(' ', 'constraint', pg_get_constraintdef(c.oid), case when not convalidated then 'not valid' end)
      from t join pg_constraint c on conrelid = t.oid
    union all select 'option ' || option from t, unnest(reloptions) as option
    union all select 'option toast.' || option from t join pg_class s on s.oid = t.reltoastrelid, unnest(s.reloptions) as option
    union all select concat_ws(' ', 'kind', relkind, relpersistence, relreplident, relrowsecurity, relforcerowsecurity,
                               (select amname from pg_am where oid = relam), (select spcname from pg_tablespace where oid = reltablespace)) from t
    union all select 'owner ' || pg_get_userbyid(relowner) from t
    union all select 'comment ' || obj_description(oid, 'pg_class') from t
    union all select concat_ws(' ', 'right', acl.privilege_type, 'of', ${grantee}, ${grantable})
      from t, aclexplode(coalesce(relacl, acldefault('r', relowner))) as acl
    union all select concat_ws(' ', 'right', acl.privilege_type, a.attname, 'of', ${grantee}, ${grantable})
      from t join pg_attribute a on attrelid = t.oid, aclexplode(a.attacl) as acl
    union all select 'trigger ' || tgname from t join pg_trigger on tgrelid = t.oid where not tgisinternal
    union all select 'reference from ' || conrelid::regclass from t join pg_constraint c on confrelid = t.oid
    union all select 'policy ' || polname from t join pg_policy on polrelid = t.oid
    union all select 'rule or view ' || ev_class::regclass
      from t join pg_depend d on refclassid = 'pg_class'::regclass and refobjid = t.oid and classid = 'pg_rewrite'::regclass
             join pg_rewrite r on r.oid = d.objid
    union all select 'publication ' || pubname from t join pg_publication_rel on prrelid = t.oid join pg_publication p on p.oid = prpubid
    union all select 'statistics ' || stxname from t join pg_statistic_ext on stxrelid = t.oid
    union all select 'parent ' || inhparent::regclass from t join pg_inherits on inhrelid = t.oid
    union all select 'child ' || inhrelid::regclass from t join pg_inherits on inhparent = t.oid
     order by 1`);
  return [...new Set(rows.map(({ fact }) => fact))];
}

/** Undefined: there is none of this name. */
export async function oidOf(tx: Tx, name: string): Promise<number | undefined> {
  const [row] = await tx.execute<{ oid: number | null }>(
    sql`select to_regclass(${name}::text)::oid::int8::float8 as oid`,
  );
  return row?.oid ?? undefined;
}

/** The shadow is the table from the end of this transaction on, which holds the table alone. */
export async function putInPlace(tx: Tx, names: Names): Promise<void> {
  const { table, shadow } = names;
  const renames = await tx.execute<{ statement: string }>(renamed(names));
  await tx.execute(sql`drop table ${sql.identifier(table)}`);
  await tx.execute(sql`alter table ${sql.identifier(shadow)} rename to ${sql.identifier(table)}`);
  for (const { statement } of renames) await tx.execute(sql.raw(statement));
}

/** Indexes and constraints under the names of those that say the same: migrations call them by name. The constraint of an index
 *  is renamed with it. */
function renamed({ table, shadow }: Names): SQL {
  const [o, n] = [sql`${table}::text::regclass`, sql`${shadow}::text::regclass`];
  const indexes = (of: SQL) => sql`
    select c.relname as name, definition, row_number() over (partition by definition order by c.relname) as nth
      from pg_index i join pg_class c on c.oid = i.indexrelid,
           concat(substring(pg_get_indexdef(c.oid) from ' USING .*'), i.indisunique, i.indisprimary) as definition where i.indrelid = ${of}`;
  const constraints = (of: SQL) => sql`
    select conname as name, definition, row_number() over (partition by definition order by conname) as nth
      from pg_constraint, pg_get_constraintdef(oid) as definition where conrelid = ${of} and conindid = 0`;
  return sql`
    select format('alter index %I rename to %I', n.name, o.name) as statement
      from (${indexes(o)}) o join (${indexes(n)}) n using (definition, nth) where n.name <> o.name
    union all
    select format('alter table %I rename constraint %I to %I', ${table}::text, n.name, o.name)
      from (${constraints(o)}) o join (${constraints(n)}) n using (definition, nth) where n.name <> o.name`;
}
