/** Files of the folder that `interop/assets.sh` fills. */
import { join } from 'node:path'
import { isRecord } from '../../formats/json.ts'
import { readText } from '../../formats/tokenizer/tokenizer.ts'
import { FormatError, PareError, printable, SourceError } from '../../tensor/errors.ts'

const missing = (path: string) =>
  new SourceError(
    `${printable(path)}: is missing; fill the folder of assets with \`bash interop/assets.sh DIR\` and name it`,
    { code: 'PARE_E_ASSET', facts: { path } },
  )

const LARGEST_TEXT = 2 ** 26

export function assetText(assets: string, ...parts: string[]): string {
  const path = join(assets, ...parts)
  const text = readText(path, LARGEST_TEXT)
  if (text === undefined) throw missing(path)
  return text
}

/** An object of JSON. The lists of pixels in these files are long, and need no more than the parser's own checks. */
export function assetJson(assets: string, ...parts: string[]): Record<string, unknown> {
  let value: unknown
  let cause: unknown
  try {
    value = JSON.parse(assetText(assets, ...parts))
  } catch (error) {
    if (error instanceof PareError) throw error
    cause = error
  }
  if (isRecord(value)) return value
  const path = join(assets, ...parts)
  throw new FormatError(`${printable(path)}: holds no object of JSON; fetch it again`, {
    code: 'PARE_E_JSON',
    facts: { path },
    ...(cause !== undefined && { cause }),
  })
}
