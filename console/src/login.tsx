// login.tsx — a token in, a cookie out. The token is kept nowhere here.
import { useState } from 'preact/hooks';
import type { Problem as ProblemSaid } from '../../src/api/contract.ts';
import { problemFor } from './api.ts';
import { Problem } from './parts/states.tsx';
import { hrefOf } from './router.ts';
import { login, session } from './session.ts';

export function Login() {
  const [token, setToken] = useState('');
  const [problem, setProblem] = useState<ProblemSaid>();
  const [isBusy, setBusy] = useState(false);
  const isOidc = session.value?.mode === 'oidc';
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(undefined);
    try {
      await login(token.trim());
    } catch (error) {
      setProblem(problemFor(error));
    }
    setBusy(false);
  };
  return (
    <main class="alone">
      <form class="login panel" onSubmit={submit}>
        <img src={hrefOf('/icon.svg')} width="40" height="40" alt="" />
        <h1>Customer Service</h1>
        <p class="muted">
          {isOidc
            ? 'Log in with a token of your identity provider.'
            : 'Log in with the token of a viewer or of an operator (AUTH_VIEWER_TOKEN, AUTH_OPERATOR_TOKEN).'}
        </p>
        <label class="field">
          <span>Token</span>
          <input
            type="password"
            value={token}
            required
            autocomplete="current-password"
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        {problem && <Problem problem={problem} />}
        <button type="submit" class="button primary" disabled={isBusy || token.trim() === ''}>
          {isBusy ? 'Asking…' : 'Log in'}
        </button>
      </form>
    </main>
  );
}
