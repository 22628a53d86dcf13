// machine.ts — /machine: the definition as it is stepped, and where its states and arrows lie.
import { picture } from '../../machines/picture.ts';
import type { App } from './app.ts';
import { type Geometry, MachineView } from './contract.ts';

export function machineRoutes(app: App): void {
  /** Laid out once in a process, when first asked for. */
  let geometry: Promise<MachineView['geometry']> | undefined;

  app.get(
    '/machine',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'States, transitions with their stable ids, and the two layouts.',
        response: { 200: MachineView },
      },
    },
    async () => {
      geometry ??= layOut().catch((error) => {
        geometry = undefined;
        throw error;
      });
      return { ...picture(), geometry: await geometry };
    },
  );
}

async function layOut(): Promise<MachineView['geometry']> {
  const { layout } = await import('../drawing/layout.ts');
  const of = (direction: Geometry['direction']) => layout(picture(), direction);
  const [LR, TB] = await Promise.all([of('LR'), of('TB')]);
  return { LR, TB };
}
