/** generation_config.json for folders that say in config.json alone where texts begin and end. */
import { type FolderCompanions, json } from './folder_source.ts'

const name = 'generation_config.json'

/** The same companions with the file, made where there is none. */
export function withGenerationConfig({ config, files }: FolderCompanions): FolderCompanions {
  if (files.has(name)) return { config, files }
  const tokens = ['bos_token_id', 'eos_token_id', 'pad_token_id'].flatMap((token) =>
    config[token] === undefined ? [] : [[token, config[token]]],
  )
  return { config, files: new Map([...files, [name, json(Object.fromEntries(tokens))]]) }
}
