/**
 * English of two centuries: addresses on the State of the Union, 1790 to 2021, and Moby Dick (1851); public domain.
 *
 * Held out are every tenth address (the 10th, 20th, ... by year) and the last tenth of the novel. Old and modern English
 * differ, so that each text carries its year.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { FormatError, printable, SourceError } from '../../tensor/errors.ts'
import { assetText } from './asset_file.ts'
import type { AssetOptions } from './digits.ts'

export interface Document {
  /** The file it comes from. */
  name: string
  kind: 'address' | 'novel'
  year: number
  text: string
}

export interface LanguageData {
  train: Document[]
  heldOut: Document[]
}

/** @throws SourceError where the texts are missing, FormatError for an address whose name has no year. */
export function languageData({ assets }: AssetOptions): LanguageData {
  const folder = join(assets, 'data', 'text-sotu', 'data')
  const addresses = namesOf(folder).map((name): Document => {
    const year = Number(/^\d{4}/.exec(name)?.[0])
    if (!year)
      throw new FormatError(`${printable(join(folder, name))}: the name of an address begins with its year`, {
        code: 'PARE_E_ASSET',
      })
    return { name, kind: 'address', year, text: assetText(folder, name) }
  })
  const novel = assetText(assets, 'data', 'text-moby-dick', 'data', 'data.txt')
  const end = lastTenth(novel)
  const part = (text: string): Document => ({ name: 'moby-dick', kind: 'novel', year: 1851, text })
  const isHeldOut = (index: number) => index % 10 === 9
  return {
    train: [...addresses.filter((_, i) => !isHeldOut(i)), part(novel.slice(0, end))],
    heldOut: [...addresses.filter((_, i) => isHeldOut(i)), part(novel.slice(end))],
  }
}

/** Where the paragraph begins that holds the first character of the last tenth. */
function lastTenth(text: string): number {
  const place = Math.floor(text.length * 0.9)
  const paragraph = text.lastIndexOf('\n\n', place)
  return paragraph < 0 ? place : paragraph + 2
}

function namesOf(folder: string): string[] {
  try {
    const names = readdirSync(folder).filter((name) => name.endsWith('.txt'))
    if (names.length > 0) return names.sort((a, b) => (a < b ? -1 : 1))
  } catch (cause) {
    throw missing(folder, cause)
  }
  throw missing(folder)
}

const missing = (folder: string, cause?: unknown) =>
  new SourceError(
    `${printable(folder)}: has no addresses; fill the folder of assets with \`bash interop/assets.sh DIR\` and name it`,
    { code: 'PARE_E_ASSET', facts: { path: folder }, ...(cause !== undefined && { cause }) },
  )
