/**
 * Packs Pare for a registry: the main package, and the native core of this machine as a package of its own.
 *
 *   node native/pack.js FOLDER      writes two tarballs into FOLDER and prints their paths, the main one first
 *
 * The platform package names the system, processor and C library that it runs on, so that a client which gets it
 * as an optional dependency installs the fitting one only. The main package lists it once it is published.
 */
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { platformName } from './platform.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const fail = (text) => {
  process.stderr.write(`pare: ${text}\n`)
  process.exit(1)
}

/** `npm pack` of a folder; returns the path of the tarball. */
function pack(folder, target) {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', target]
  const { status, stdout, stderr } = spawnSync('npm', args, {
    cwd: folder,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  })
  if (status !== 0) fail(`npm pack failed in ${folder}: ${stderr}`)
  const [{ filename }] = JSON.parse(stdout)
  return join(target, filename)
}

/** The package.json of the platform package. */
function platformManifest({ version, license, engines }, platform) {
  const [os, cpu, library] = platform.split('-')
  const libc = { gnu: 'glibc', musl: 'musl' }[library]
  const main = `pare.${platform}.node`
  return {
    name: `@pare/native-${platform}`,
    version,
    description: `Native core of Pare for ${platform}`,
    license,
    os: [os],
    cpu: [cpu],
    ...(libc ? { libc: [libc] } : {}),
    main,
    files: [main],
    engines,
  }
}

const [target] = process.argv.slice(2)
if (target === undefined) fail('node native/pack.js FOLDER: a folder for the tarballs is needed')
const folder = resolve(target)
mkdirSync(folder, { recursive: true })
const platform = platformName()
const core = join(root, 'native', `pare.${platform}.node`)
if (!existsSync(core) || !existsSync(join(root, 'dist', 'index.js')))
  fail('nothing is built; run `npm run build` first')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const staging = mkdtempSync(join(tmpdir(), 'pare-pack-'))
try {
  const native = platformManifest(manifest, platform)
  writeFileSync(join(staging, 'package.json'), `${JSON.stringify(native, null, 2)}\n`)
  copyFileSync(core, join(staging, native.main))
  copyFileSync(join(root, 'LICENSE'), join(staging, 'LICENSE'))
  writeFileSync(
    join(staging, 'README.md'),
    `The native core of Pare for ${platform}. Install it beside \`pare\`, in the same version.\n`,
  )
  process.stdout.write(`${pack(root, folder)}\n${pack(staging, folder)}\n`)
} finally {
  rmSync(staging, { recursive: true, force: true })
}
