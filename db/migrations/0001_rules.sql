-- What Drizzle's schema can not say.

-- Room for HOT updates: a user is written often and its indexed column never changes.
alter table users set (fillfactor = 80);
--> statement-breakpoint
-- History is append-only, whoever is connected: the fold of it is the user (P1), so it may never change.
create function history_is_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'history is append-only: % refused', tg_op using errcode = 'insufficient_privilege';
end $$;
--> statement-breakpoint
create trigger history_append_only before update or delete or truncate on history
  for each statement execute function history_is_append_only();
--> statement-breakpoint
-- Nothing vanishes: for every partition, the records handled = history + waiting + dead letters not resolved.
-- `missing` is 0 at all times; `records` is counted by the fence statement itself.
create view accounting as
select p.topic, p.partition, p.generation, p.first_offset, p.next_offset,
       coalesce((p.tallies ->> 'records')::bigint, 0) as records,
       h.n as history, w.n as waiting, d.n as dead_letters,
       coalesce((p.tallies ->> 'records')::bigint, 0) - h.n - w.n - d.n as missing
  from positions p
 cross join lateral (select count(*) n from history x where x.topic = p.topic and x.partition = p.partition) h
 cross join lateral (select count(*) n from waiting x where x.topic = p.topic and x.partition = p.partition) w
 cross join lateral (select count(*) n from dead_letters x
                      where x.topic = p.topic and x.partition = p.partition and x.status <> 'resolved') d
 where p.topic <> '#redrive';
