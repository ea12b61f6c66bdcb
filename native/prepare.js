/**
 * Compiles TypeScript, experiments included, into dist/ and the native core into native/pare.<platform>.node.
 * Runs as npm's `prepare`; does nothing where everything is newer than its sources. Progress goes to stderr.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { platformName } from './platform.js'
import { bindingTypes } from './types.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const native = join(root, 'native')
const say = (text) => process.stderr.write(`pare: ${text}\n`)

/** Hash of all sources under the given paths: file names, sizes and contents. */
function fingerprint(paths) {
  const hash = createHash('sha256')
  const visit = (path) => {
    if (!existsSync(path)) return
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort()) visit(join(path, name))
      return
    }
    hash.update(path.slice(root.length)).update(readFileSync(path))
  }
  for (const path of paths) visit(join(root, path))
  return hash.digest('hex')
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options })
  if (result.error?.code === 'ENOENT') return { missing: true, status: 1 }
  return { missing: false, status: result.status ?? 1 }
}

/** Runs `build` unless the stamp beside the product carries the fingerprint of the sources. */
function unlessFresh(stamp, product, sources, build) {
  const now = fingerprint(sources)
  if (existsSync(product) && existsSync(stamp) && readFileSync(stamp, 'utf8') === now) return
  build()
  mkdirSync(dirname(stamp), { recursive: true })
  writeFileSync(stamp, now)
}

function buildNative() {
  const product = join(native, `pare.${platformName()}.node`)
  unlessFresh(
    join(native, 'target', 'prepare.stamp'),
    product,
    [
      'native/src',
      'native/dense/src',
      'native/dense/Cargo.toml',
      'native/Cargo.toml',
      'native/Cargo.lock',
      'native/build.rs',
    ],
    () => {
      say('compiling the native core (the first time takes a few minutes) ...')
      const types = join(native, 'target', 'types')
      rmSync(types, { recursive: true, force: true })
      mkdirSync(types, { recursive: true })
      // The definitions are written while the crate compiles; without them it must compile again.
      if (!existsSync(join(native, 'binding.d.ts')))
        utimesSync(join(native, 'src', 'lib.rs'), new Date(), new Date())
      const { missing, status } = run(
        'cargo',
        ['build', '--release', '--locked', '--manifest-path', join(native, 'Cargo.toml')],
        {
          env: { ...process.env, NAPI_TYPE_DEF_TMP_FOLDER: types, CARGO_TARGET_DIR: join(native, 'target') },
        },
      )
      if (missing) {
        say('cargo was not found: install Rust (https://rustup.rs), then run `npm run build`.')
        process.exit(1)
      }
      if (status !== 0) {
        say('the native core did not compile; the reason stands above.')
        process.exit(1)
      }
      const library =
        { win32: 'pare_native.dll', darwin: 'libpare_native.dylib' }[process.platform] ?? 'libpare_native.so'
      const temporary = `${product}.${process.pid}`
      copyFileSync(join(native, 'target', 'release', library), temporary)
      renameSync(temporary, product)
      const definitions = readdirSync(types)
        .map((name) => readFileSync(join(types, name), 'utf8'))
        .join('\n')
      if (definitions.trim()) writeFileSync(join(native, 'binding.d.ts'), bindingTypes(definitions))
    },
  )
}

/** Removes what was compiled from sources that are gone, so that it is not packed. */
function removeOrphans(compiled, sources, others = []) {
  for (const entry of readdirSync(compiled, { withFileTypes: true })) {
    const path = join(compiled, entry.name)
    if (others.includes(entry.name)) continue
    if (entry.isDirectory()) removeOrphans(path, join(sources, entry.name))
    else if (
      /\.(?:js|d\.ts)$/.test(entry.name) &&
      !existsSync(join(sources, entry.name.replace(/(?:\.d)?\.[jt]s$/, '.ts')))
    )
      rmSync(path)
  }
}

function compile(config) {
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  if (!existsSync(compiler)) {
    say('the TypeScript compiler is missing: run `npm ci` first.')
    process.exit(1)
  }
  const { status } = run(process.execPath, [compiler, '-p', config])
  if (status !== 0) process.exit(1)
}

/** Compiled from folders beside src/, against what is compiled from it. */
const beside = ['experiments', 'docs']

function buildTypeScript() {
  const dist = join(root, 'dist')
  unlessFresh(
    join(dist, 'prepare.stamp'),
    join(dist, 'index.js'),
    ['src', 'native/binding.d.ts', 'tsconfig.json', 'tsconfig.build.json'],
    () => {
      say('compiling TypeScript ...')
      compile('tsconfig.build.json')
      removeOrphans(dist, join(root, 'src'), beside)
    },
  )
  unlessFresh(
    join(dist, 'experiments', 'prepare.stamp'),
    join(dist, 'experiments', 'reproduce.js'),
    [...typeScriptIn('experiments'), ...typeScriptIn('docs'), 'tsconfig.json', 'tsconfig.experiments.json'],
    () => {
      say('compiling the experiments ...')
      compile('tsconfig.experiments.json')
      for (const folder of beside) removeOrphans(join(dist, folder), join(root, folder))
    },
  )
}

/** Sources below a folder, which also holds pages, results and models. */
const typeScriptIn = (folder) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((name) => name.endsWith('.ts'))
    .sort()
    .map((name) => join(folder, name))

// `node native/prepare.js typescript` leaves the native core as it is.
if (process.argv[2] !== 'typescript') buildNative()
buildTypeScript()
