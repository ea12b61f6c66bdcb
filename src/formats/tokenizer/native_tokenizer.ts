/** The tokenizer functions of the native core, loaded when the first tokenizer is made. */
import { createRequire } from 'node:module'
import type * as Binding from '../../../native/binding.d.ts'
import { NativeError } from '../../tensor/errors.ts'

export type NativeTokenizer = Pick<
  typeof Binding,
  | 'tokenizerLoad'
  | 'tokenizerRelease'
  | 'tokenizerEncode'
  | 'tokenizerDecode'
  | 'tokenizerTokenToId'
  | 'tokenizerIdToToken'
  | 'tokenizerVocabularySize'
>

let loaded: NativeTokenizer | undefined

/** @throws NativeError if the core was not built for this machine. */
export function nativeTokenizer(): NativeTokenizer {
  loaded ??= load()
  return loaded
}

function load(): NativeTokenizer {
  const require = createRequire(import.meta.url)
  const name = platformName()
  try {
    return require(`../../../native/pare.${name}.node`)
  } catch (cause) {
    throw new NativeError(`the native core for ${name} is missing or does not run here; run npm run build`, {
      facts: { platform: name },
      cause,
    })
  }
}

/** As `native/platform.js` names it, which builds the file. */
function platformName(): string {
  const { platform, arch } = process
  if (platform !== 'linux') return `${platform}-${arch}`
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined
  return `${platform}-${arch}-${report?.header?.glibcVersionRuntime ? 'gnu' : 'musl'}`
}
