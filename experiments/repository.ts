/** Where the repository, or an installation, lies. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of package.json, from the sources as from what was compiled. */
export const root = packageRoot(dirname(fileURLToPath(import.meta.url)))

function packageRoot(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : packageRoot(dirname(folder))
}
