/** Errors for people (stderr) and programs (`--json`: an object on stderr). */
import { PareError } from '../tensor/errors.ts'
import { colours } from './colours.ts'

/** Prints one error. Unexpected ones show where they happened, since they are defects. */
export function showError(error: unknown, asJson: boolean): void {
  const known = error instanceof PareError
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  const code = known ? error.code : 'PARE_E_INTERNAL'
  if (asJson) {
    const facts = known ? error.facts : {}
    process.stderr.write(
      `${JSON.stringify({ error: { code, message, exitCode: known ? error.exitCode : 1, facts } })}\n`,
    )
    return
  }
  const { red, dim } = colours(process.stderr)
  process.stderr.write(`${red('error')} ${message} ${dim(`[${code}]`)}\n`)
  if (!known) process.stderr.write(`This is a defect of Pare.\n${stack ?? ''}\n`)
}
