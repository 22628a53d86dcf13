// users.tsx — who there is: by id, page by page, narrowed by id or e-mail, customer and state.
import { useEffect } from 'preact/hooks';
import type { UserItem } from '../../../src/api/contract.ts';
import { usePages } from '../api.ts';
import { machine, needMachine } from '../machine/machine.ts';
import {
  Badge,
  CopyButton,
  CustomerId,
  Empty,
  Filters,
  Loading,
  Page,
  Pager,
  Problem,
  StateBadge,
  shortened,
  Table,
  Time,
} from '../parts.ts';
import { hrefOf, path, type ViewProps } from '../router.ts';

export default function UsersPage({ query }: ViewProps) {
  useEffect(needMachine, []);
  const { q, state, customer } = query;
  const pages = usePages<UserItem>('users', { q, state, customer, limit: 50 });
  const states = machine.value?.states.filter(({ kind }) => kind !== 'initial').map(({ id }) => id) ?? [];
  const isNarrow = q !== undefined || state !== undefined || customer !== undefined;
  const isHeavy = state !== undefined && customer === undefined && q === undefined;
  return (
    <Page title="Users" sub={<span>Each is an actor: its state, its row, and all that led there.</span>}>
      <Filters
        fields={[
          { kind: 'search', name: 'q', label: 'Id, its beginning, or a whole e-mail address', placeholder: 'auth0|…' },
          { kind: 'text', name: 'customer', label: 'Customer', placeholder: 'id' },
          { kind: 'choice', name: 'state', label: 'State', options: states },
        ]}
      >
        {isHeavy && (
          <Badge
            tone="warn"
            icon="alert"
            title="There is no index on what changes: every user is looked at. Narrow it by a customer."
          >
            heavy: looks at every user
          </Badge>
        )}
      </Filters>
      {pages.problem && <Problem problem={pages.problem} again={pages.again} />}
      {pages.items === undefined && pages.problem === undefined && <Loading lines={10} what="Loading users" />}
      {pages.items?.length === 0 && (isNarrow ? <NoneFits q={q} /> : <NoneYet />)}
      {pages.items && pages.items.length > 0 && (
        <>
          <Table
            caption="Users, by id"
            rows={pages.items}
            keyOf={({ userId }) => userId}
            toOf={({ userId }) => path`/users/${userId}`}
            isBusy={pages.isLoading}
            columns={COLUMNS}
          />
          <Pager {...pages} what="users" />
        </>
      )}
    </Page>
  );
}

const COLUMNS = [
  {
    head: 'User',
    cell: ({ userId }: UserItem) => (
      <span class="mono" title={userId}>
        {shortened(userId, 34)}
      </span>
    ),
    isLink: true,
  },
  {
    head: 'Copy',
    kind: 'tight' as const,
    isHeadHidden: true,
    isExtra: true,
    cell: ({ userId }: UserItem) => <CopyButton text={userId} what="user id" />,
  },
  { head: 'State', cell: ({ state }: UserItem) => <StateBadge state={state} /> },
  {
    head: 'Customer',
    cell: ({ customerId }: UserItem) =>
      customerId === null ? <span class="muted">none</span> : <CustomerId id={customerId} copy={false} />,
  },
  {
    head: 'Role',
    cell: ({ role, userType, isCompanyOwner }: UserItem) => (
      <span class="nowrap">
        {wordsOf(role)}{' '}
        <span class="muted">
          {wordsOf(userType)}
          {isCompanyOwner ? ', owner' : ''}
        </span>
      </span>
    ),
  },
  { head: 'E-mail', isExtra: true, cell: ({ email }: UserItem) => <span class="muted">{email}</span> },
  { head: 'Step', kind: 'number' as const, cell: ({ version }: UserItem) => version },
  {
    head: 'Waiting',
    kind: 'number' as const,
    cell: ({ waiting }: UserItem) =>
      waiting === 0 ? (
        <span class="muted">0</span>
      ) : (
        <Badge tone="warn" icon="waiting">
          {waiting}
        </Badge>
      ),
  },
  {
    head: 'Changed',
    kind: 'tight' as const,
    cell: ({ updatedAt }: UserItem) => (
      <span class="muted">
        <Time at={updatedAt} />
      </span>
    ),
  },
];

/** "CUSTOMER_ADMIN" → "customer admin" */
export function wordsOf(constant: string): string {
  return constant === 'SME' ? constant : constant.toLowerCase().replaceAll('_', ' ');
}

function NoneFits({ q }: { q: string | undefined }) {
  return (
    <Empty title="No user fits" icon="search">
      Ids fit from their beginning, e-mail addresses as a whole.
      {q !== undefined && !q.includes('@') && (
        <>
          {' '}
          It may not exist yet: <a href={hrefOf(path`/users/${q}`)}>look for what waits for {q}</a>.
        </>
      )}
    </Empty>
  );
}

function NoneYet() {
  return (
    <Empty
      title="No users yet"
      icon="users"
      command={"npm run demo\nuser-lifecycle send USER_CREATED --user 'auth0|42'"}
    >
      They come with the first USER_CREATED. To see some:
    </Empty>
  );
}
