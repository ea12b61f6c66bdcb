/** The tiny checkpoints as sources of conversions: folders get the tokenizer that their vocabulary fits. */
import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type FixtureName, fixturePath, openFixture } from '../../models/llama/fixtures.suite.ts'

/** Path of a copy in `folder`, or of the GGUF file itself. */
export function convertible(name: FixtureName, folder: string): string {
  if (name.endsWith('.gguf')) return fixturePath(name)
  const path = join(folder, name)
  cpSync(fixturePath(name), path, { recursive: true })
  const open = openFixture('llama-f16.gguf')
  writeFileSync(join(path, 'tokenizer.json'), open.tokenizer().json())
  open.close()
  const tokens = { eos_token: '<|im_end|>', bos_token: '<|im_start|>' }
  writeFileSync(join(path, 'tokenizer_config.json'), JSON.stringify(tokens))
  return path
}
