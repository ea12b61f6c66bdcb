/** Finds and loads the native core: a platform package beside Pare, or what was compiled in its own folder. */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import type * as Binding from '../../native/binding.d.ts'
import { NativeError, OptionError, printable } from './errors.ts'

export type { Binding }

const require = createRequire(import.meta.url)
const root = new URL('../../', import.meta.url)

/** `linux-x64-gnu`, `darwin-arm64`, ...: the name of the package and the file for this machine. */
export function platformName(): string {
  const { platform, arch } = process
  if (platform !== 'linux') return `${platform}-${arch}`
  const header = (process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined)
    ?.header
  return `${platform}-${arch}-${header?.glibcVersionRuntime ? 'gnu' : 'musl'}`
}

/** Where the native core is, or nothing. */
export function findBinding(): string | undefined {
  const local = fileURLToPath(new URL(`native/pare.${platformName()}.node`, root))
  if (existsSync(local)) return local
  try {
    return require.resolve(`@pare/native-${platformName()}`)
  } catch {
    return undefined
  }
}

let loaded: typeof Binding | undefined

/** What `PARE_SIMD` may lower the kernels to; the last one lowers nothing. */
const instructionSets = ['portable', 'avx2', 'avx512']

/**
 * @throws NativeError with the one-line fix where the native core is missing, does not load, or is of another version;
 * OptionError where `PARE_SIMD` names no instruction set.
 */
export function binding(): typeof Binding {
  if (loaded) return loaded
  const lowered = process.env.PARE_SIMD
  if (lowered && !instructionSets.includes(lowered))
    throw new OptionError(
      `PARE_SIMD: needs one of ${instructionSets.join(', ')}, got ${printable(lowered, 40)}; leave it out to use what the machine has`,
    )
  const path = findBinding()
  if (!path) {
    throw new NativeError(
      `native core: nothing is built for ${platformName()}; run \`npm run build\` in the folder of Pare (needs Rust), or install @pare/native-${platformName()}`,
      { code: 'PARE_E_NATIVE_MISSING', facts: { platform: platformName() } },
    )
  }
  let candidate: typeof Binding
  try {
    candidate = require(path) as typeof Binding
  } catch (cause) {
    throw new NativeError(
      `native core: ${path} does not load (${(cause as Error).message}); run \`npm run build\` again`,
      { cause },
    )
  }
  const { version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { version: string }
  if (candidate.version() !== version) {
    throw new NativeError(
      `native core: version ${candidate.version()} does not fit Pare ${version}; run \`npm run build\` or install the same version`,
    )
  }
  loaded = candidate
  return loaded
}
