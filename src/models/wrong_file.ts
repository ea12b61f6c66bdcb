/** Files that are named where a model is needed and are something else. */
import { existsSync } from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { openFile } from '../formats/file.ts'
import { FormatError, OptionError, printable } from '../tensor/errors.ts'

/** Weights without what says how they are computed. */
const weightFiles: Readonly<Record<string, string>> = {
  '.safetensors': 'a safetensors file',
  '.onnx': 'an ONNX file',
  '.pth': 'a torch file',
  '.pt': 'a torch file',
  '.bin': 'a file of weights',
  '.ckpt': 'a torch file',
}
const otherFiles: Readonly<Record<string, string>> = {
  '.json': 'a JSON file',
  '.md': 'a text',
  '.txt': 'a text',
  '.html': 'a page',
}

/**
 * Refuses a file that is no GGUF file and says what it is, where that can be told by its name or its first bytes.
 *
 * @param needed `a GGUF file or a model folder`
 * @throws OptionError PARE_E_NOT_A_MODEL, FormatError for an empty file; SourceError where the file cannot be read.
 */
export function checkIsGguf(path: string, needed = 'a GGUF file or a folder with config.json'): void {
  const source = openFile(path)
  try {
    const first = Buffer.from(source.read(0, Math.min(4, source.size))).toString('latin1')
    if (first === 'GGUF') return
    // What is named so is a damaged one, and its reader tells what is wrong.
    const ending = extname(path).toLowerCase()
    if (ending === '.gguf' && source.size > 0) return
    const kind =
      source.size === 0 ? 'an empty file' : (weightFiles[ending] ?? otherFiles[ending] ?? 'neither')
    const folder = dirname(path)
    const wayOut =
      source.size === 0
        ? 'get it again'
        : existsSync(join(folder, 'config.json'))
          ? `give its folder, ${printable(folder, 300)}`
          : weightFiles[ending]
            ? 'give a folder that has its config.json too'
            : 'name a model'
    // Nothing in a file is damage, another kind of file a slip of the hand.
    const Fault = source.size === 0 ? FormatError : OptionError
    throw new Fault(`${printable(path, 300)}: ${needed} is needed, this is ${kind}; ${wayOut}`, {
      code: 'PARE_E_NOT_A_MODEL',
      facts: { path, found: kind },
    })
  } finally {
    source.close()
  }
}
