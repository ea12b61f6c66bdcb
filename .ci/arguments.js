/** Options of the scripts here and in bench/: --help prints what stands at the top of the script, and so does a wrong option. */
import { readFileSync } from 'node:fs'
import { parseArgs as parse } from 'node:util'

/** The comment that a script begins with, without its stars. */
export function usageOf(path) {
  const [, comment = ''] = /^(?:#![^\n]*\n)?\/\*\*?(.*?)\*\//s.exec(readFileSync(path, 'utf8')) ?? []
  return `${comment.replace(/^[ \t]*\*? ?/gm, '').trim()}\n`
}

/** As `parseArgs` of Node. Ends the process with 0 after --help, with 2 after a wrong option. */
export function parseArgs(config = {}) {
  const script = process.argv[1]
  try {
    const parsed = parse({ ...config, options: { ...config.options, help: { type: 'boolean', short: 'h' } } })
    if (!parsed.values.help) return parsed
    process.stdout.write(usageOf(script))
    process.exit(0)
  } catch (error) {
    if (!String(error?.code).startsWith('ERR_PARSE_ARGS')) throw error
    process.stderr.write(`${error.message}\n\n${usageOf(script)}`)
    process.exit(2)
  }
}
