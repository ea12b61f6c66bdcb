/** Files of a result: beside each other, and in folders such as `onnx` and `1_Pooling`. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** `names` of a folder, those of folders exchanged for `FOLDER/FILE` of what lies in them. */
export const expandFolders = (folder: string, names: readonly string[]): string[] =>
  names.flatMap((name) =>
    statSync(join(folder, name)).isDirectory()
      ? readdirSync(join(folder, name)).map((inner) => `${name}/${inner}`)
      : [name],
  )

/** Whether a name stays inside of its folder, at most one folder deep. */
export const isFileName = (name: string): boolean =>
  /^(?!\.\.?(?:\/|$))[^/\\\0]{1,255}(?:\/(?!\.\.?$)[^/\\\0]{1,255})?$/.test(name)
