// send.ts — `send`: one event to Kafka, as a producer of some dialect would send it; with --wait what became of it.
import { randomBytes, randomUUID } from 'node:crypto';
import { Argument, type Command, InvalidArgumentError } from 'commander';
import type { Config } from '../config.ts';
import type { OutgoingRecord } from '../sources/kafka-client.ts';
import { oneOf, seconds } from './arguments.ts';
import { act, EXIT, examples, Failure, type Run } from './command.ts';
import type { At } from './connection.ts';
import { EVENTS, type Known, payloadOf, type Said, WAYS, type Way, wrap } from './envelope.ts';
import { type Became, outcomeLine, waitFor } from './outcome.ts';
import { place, quoted } from './output.ts';

type EventName = (typeof EVENTS)[number];
type Options = Said & {
  as: Way;
  key?: string;
  id?: string;
  source: string;
  topic?: string;
  data?: string;
  wait?: true;
  timeout: number;
};

export function registerSend(program: Command): void {
  program
    .command('send')
    .description('sends one event to Kafka, as a producer would')
    .addArgument(new Argument('<event>', EVENTS.join(', ')).argParser(eventName))
    .option('--as <dialect>', WAYS.join(', '), oneOf(WAYS), 'cloudevents')
    .option('--user <id>', 'userId (a new one for USER_CREATED)')
    .option('--customer <id>', 'customerAccountId, and the key; default: the customer that the user has in Postgres')
    .option('--customer-name <name>', 'customerName')
    .option('--email <address>', 'email')
    .option('--name <name>', 'name, of the user or the customer')
    .option('--user-type <type>', 'userType: SME_USER, SME_OWNER, INSTITUTION_USER, INSTITUTION_ADMIN')
    .option('--role <role>', "role, the producer's own word")
    .option('--previous-status <status>', 'previousStatus (default: what Postgres has)')
    .option('--new-status <status>', 'newStatus: PENDING, ACTIVE, SUSPENDED, INACTIVE (default: ACTIVE)')
    .option('--previous-role <role>', 'previousRole (default: what Postgres has)')
    .option('--new-role <role>', 'newRole: a user type, CUSTOMER_USER or CUSTOMER_ADMIN (default: SME_OWNER)')
    .option('--by <name>', 'changedBy, deletedBy')
    .option('--timestamp <time>', 'timestamp, RFC 3339 (default: now)')
    .option('--data <json>', 'the payload whole, as it stands; right or wrong')
    .option('--key <key>', "the record's key")
    .option('--id <id>', "the event's id, where the dialect has one (default: a new one)")
    .option('--source <source>', 'ce_source', '/user-lifecycle')
    .option('--topic <topic>', 'another topic than the usual one of the dialect')
    .option('--wait', 'wait for its outcome; exit code 3 where it becomes a dead letter')
    .option('--timeout <seconds>', 'how long to wait', seconds, 30)
    .addHelpText(
      'after',
      examples(
        'send CUSTOMER_CREATED --customer acme --name Acme --wait',
        "send USER_CREATED --user 'auth0|42' --customer acme --wait",
        "send USER_STATUS_CHANGED --user 'auth0|42' --new-status SUSPENDED --as nest --wait",
        'send USER_DELETED --data \'{"userId":42}\' --wait',
      ),
    )
    .action(act(send));
}

async function send(run: Run, type: EventName, options: Options): Promise<number> {
  const needsUser = type !== 'USER_CREATED' && type !== 'CUSTOMER_CREATED';
  if (needsUser && options.user === undefined && options.data === undefined)
    throw new Failure(`${type} needs --user <id> (or --data with the whole payload).`, EXIT.usage);
  const config = await settingsOf(run, options.wait === true);
  const user = type === 'CUSTOMER_CREATED' ? undefined : userOf(options);
  const known = user === undefined ? undefined : await lookUp(run, config, user, options.wait === true);
  const record = recordOf(type, options, config, known);
  if (!config.kafka.topics.includes(record.topic))
    run.out.say(`${record.topic} is not among KAFKA_TOPICS: the service does not read it.`);

  const startedMs = performance.now();
  const at = await produce(config, record);
  const shown = { ...at, offset: String(at.offset) };
  if (!options.wait) {
    run.out.one(shown, () => place(at));
    next(run, user);
    return EXIT.done;
  }
  const { became, ms } = await run.database(async ({ sql }) => ({
    became: await waitFor(sql, at, options.timeout * 1_000),
    ms: Math.round(performance.now() - startedMs),
  }));
  if (became === undefined)
    throw new Failure(
      `${place(at)} was sent, but not handled within ${options.timeout} s. Does the service run on this Kafka and this database?` +
        ' `npx user-lifecycle status` shows the lag and what is halted.',
    );
  run.out.one({ ...shown, ...became, ms }, () => outcomeLine(at, became, ms));
  next(run, user, became);
  return became.outcome === 'dead' ? EXIT.someDead : EXIT.done;
}

function next({ out }: Run, user: string | undefined, became?: Became): void {
  if (became?.outcome === 'dead') out.next(`dlq show ${became.deadLetterId}`);
  else if (became?.outcome === 'waiting') out.next('dlq list --waiting');
  else if (user !== undefined) out.next(`users history ${quoted(user)}`);
  else out.next('status');
}

/** Only Kafka is needed, and of the service's other settings none: HASH_SECRET has nothing to do with sending. */
async function settingsOf(run: Run, waits: boolean): Promise<Config> {
  const config = await run.settings(waits ? ['database'] : []);
  if (config.kafka.brokers.length > 0) return config;
  if (config.file.folder !== undefined)
    throw new Failure(
      '`send` sends to Kafka, and FILE_SOURCE reads from files: append a line to a file there.',
      EXIT.usage,
    );
  return await run.settings(waits ? ['kafka', 'database'] : ['kafka']); // throws, and names KAFKA_BROKERS
}

function userOf({ user, data }: Options): string | undefined {
  if (user !== undefined || data === undefined) return user;
  try {
    const { userId } = Object(JSON.parse(data));
    return typeof userId === 'string' ? userId : undefined;
  } catch {
    return undefined;
  }
}

/** What we have of the user, where a database is set; without an answer it is sent all the same, unless --wait needs one. */
async function lookUp(run: Run, config: Config, userId: string, waits: boolean): Promise<Known | undefined> {
  if (config.database.host === '') return undefined;
  try {
    return await run.database(({ sql }: At) =>
      sql<
        Known[]
      >`select state, customer_id as "customerId", role, user_type as "userType", is_company_owner as "isCompanyOwner"
                     from users where user_id = ${userId}`.then(([row]) => row),
    );
  } catch (error) {
    if (waits || !(error instanceof Failure)) throw error;
    run.out.say(`${error.message} The user's customer is unknown here: the key is the user's id.`);
    return undefined;
  }
}

function recordOf(type: EventName, options: Options, config: Config, known: Known | undefined): OutgoingRecord {
  const fresh = {
    now: new Date().toISOString(),
    user: `auth0|${randomBytes(12).toString('hex')}`,
    customer: `customer-${randomBytes(4).toString('hex')}`,
    id: randomUUID(),
  };
  const payload = payloadOf(type, options, fresh, known);
  const key =
    options.customer ?? payload.customerAccountId ?? known?.customerId ?? userOf(options) ?? payload.userId ?? null;
  const outbox = config.kafka.topics.find((topic) => topic.startsWith('outbox.event.'));
  try {
    const record = wrap(options.as, {
      type,
      text: options.data ?? JSON.stringify(payload),
      key,
      id: options.id ?? fresh.id,
      source: options.source,
      ...(options.topic === undefined ? {} : { topic: options.topic }),
      ...(outbox === undefined ? {} : { outbox }),
    });
    return options.key === undefined ? record : { ...record, key: options.key };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new Failure(
      `--data is no JSON: ${options.as} puts it into an envelope, so it must be. Other dialects take any text.`,
      EXIT.usage,
    );
  }
}

async function produce(config: Config, record: OutgoingRecord) {
  const [{ connectProducer, withAdmin }, { fromKafka, kafkaOf, QUIET }] = await Promise.all([
    import('../sources/kafka-client.ts'),
    import('./connection.ts'),
  ]);
  const settings = kafkaOf(config);
  const topics = await fromKafka(
    config,
    withAdmin(settings, QUIET, (admin) => admin.listTopics()),
  );
  // A producer would go on asking for it.
  if (!topics.includes(record.topic))
    throw new Failure(
      `There is no topic ${record.topic}. The service creates its topics when it starts (KAFKA_CREATE_TOPICS).`,
    );
  const producer = await fromKafka(config, connectProducer(settings, QUIET));
  try {
    const [at] = await fromKafka(config, producer.send([record]), 15_000);
    if (at === undefined) throw new Failure('Kafka took the record but did not say where it is.');
    return at;
  } finally {
    await producer.close();
  }
}

function eventName(text: string): EventName {
  const name = text.toUpperCase().replaceAll('-', '_');
  const found = EVENTS.find((event) => event === name);
  if (found === undefined) throw new InvalidArgumentError(`One of ${EVENTS.join(', ')}.`);
  return found;
}
