/** The journal of an experiment: one run a line, added as soon as it is done. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'

/** The runs that are done. A line that a stop cut short is ended and left out, so that its run is measured again. */
export function readJournal<R>(file: string, say: (text: string) => void = () => {}): R[] {
  if (!existsSync(file)) return []
  const text = readFileSync(file, 'utf8')
  if (text !== '' && !text.endsWith('\n')) appendFileSync(file, '\n')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .flatMap((line): R[] => {
      try {
        return [JSON.parse(line)]
      } catch {
        say(`${basename(file)}: a line is cut short and is left out`)
        return []
      }
    })
}

export const appendRun = (file: string, run: object): void => appendFileSync(file, `${JSON.stringify(run)}\n`)

/** Of each job the latest run with the same fields and sources, in the order of the jobs. */
export function latestRuns<J extends object, R extends J & { sources: string }>(
  runs: readonly R[],
  jobs: readonly J[],
  sources: string,
): R[] {
  return jobs.flatMap((job) => {
    const found = runs.findLast((run) => run.sources === sources && isRunOf(run, job))
    return found ? [found] : []
  })
}

/** Whether a run has all fields of a job, at any depth. */
export function isRunOf(run: object, job: object): boolean {
  return Object.entries(job).every(([key, wanted]) => {
    const found = (run as Record<string, unknown>)[key]
    if (typeof wanted !== 'object' || wanted === null) return found === wanted
    return typeof found === 'object' && found !== null && isRunOf(found, wanted)
  })
}
