/** Runs for a size over the tiny model, with a cache of measurements of their own. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import { compress } from '../run/compress.ts'
import type { CompressOptions } from '../run/compress_options.ts'
import type { CompressionPlan } from '../run/plan.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

/** Options for a run in a folder that goes when the tests are done, and how many levels a run measured. */
export function mixRuns() {
  const folder = mkdtempSync(join(tmpdir(), 'mix-test-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const model = join(folder, 'tiny.gguf')
  const home = join(folder, 'home')
  const before = process.env.PARE_HOME
  beforeAll(() => {
    writeTinyGguf(model)
  })
  beforeEach(() => {
    process.env.PARE_HOME = home
  })
  afterEach(() => {
    if (before === undefined) delete process.env.PARE_HOME
    else process.env.PARE_HOME = before
  })

  let count = 0
  const options = (extra: Partial<CompressOptions> = {}): CompressOptions => ({
    source: model,
    output: join(folder, `out-${++count}`),
    target: 'pare',
    embedding: 'Q8_0',
    method: 'rtn',
    samples: 2,
    length: 32,
    sensitivityWindows: 2,
    context: 32,
    windows: 2,
    evaluate: false,
    ...extra,
  })
  const weightFile = (output: string) =>
    join(output, readdirSync(output).find((name) => /\.(gguf|safetensors)$/.test(name))!)
  const cacheFile = () => {
    const place = join(process.env.PARE_HOME!, 'cache/sensitivities')
    return join(place, readdirSync(place)[0]!)
  }
  const bytesOf = ({ report }: { report: { output: string } }) => readFileSync(weightFile(report.output))
  /** Runs and says how many levels were measured. */
  async function measuring(asked: CompressOptions) {
    let steps = 0
    const plans: CompressionPlan[] = []
    const report = await compress(asked, {
      progress: (event) => {
        if (event.kind === 'plan') plans.push(event.plan)
        // Of the source alone, the text is the name of a stage.
        if (event.kind === 'progress' && event.phase === 'measure' && event.text.startsWith('model.'))
          steps += 1
      },
    })
    return { report, steps, plans, size: statSync(weightFile(asked.output)).size }
  }
  return { folder, options, cacheFile, bytesOf, measuring }
}
