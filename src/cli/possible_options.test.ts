/** What can be judged from options and shapes is judged before a weight is read. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { type CompressOptions, resolveOptions } from '../run/compress_options.ts'
import { flagName } from '../run/option_fields.ts'
import { plan } from '../run/plan.ts'
import { stepMethod, stepMethodNames } from '../run/step_methods.ts'
import { gridFields, sharedFields } from '../run/weight_step.ts'
import { OptionError } from '../tensor/errors.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

let source = ''
beforeAll(() => {
  source = writeTinyGguf(join(mkdtempSync(join(tmpdir(), 'pare-possible-')), 'tiny.gguf'))
})
const base = { source: 'm', output: 'o' }
const refusalOf = (options: Partial<CompressOptions>): unknown => {
  try {
    resolveOptions({ ...base, ...options })
  } catch (error) {
    return error
  }
  return undefined
}

const hostile = [-1, Number.NaN, Number.POSITIVE_INFINITY, 1e300, '', '\0', null, [], {}]
describe.each(stepMethodNames)('%s', (method) => {
  const fields = [...Object.keys(stepMethod(method).options), ...gridFields, ...sharedFields]
  test('refuses values that no option takes in one sentence that names the option', () => {
    for (const field of fields)
      for (const value of hostile) {
        const error = refusalOf({ method, [field]: value }) as OptionError
        expect(error, `${field} ${String(value)}`).toBeInstanceOf(OptionError)
        expect(error.code).toMatch(/^PARE_E_/)
        expect(error.message).toMatch(
          new RegExp(`^(${flagName(field)}|steps\\[0\\]: (--bits: )?${method}\\b)[^\\n]{10,400}$`),
        )
        expect(error.message).not.toMatch(/expected|undefined/i)
      }
  })
})

describe('options that do not go together are refused before the source is opened', () => {
  test.each([
    [{ method: 'omniquant', search: true }, /^--search: omniquant does not read it; .* for rtn, gptq/],
    [{ method: 'obq', search: true }, /^--search: obq does not read it/],
    [{ method: 'omniquant', damping: 0.5 }, /^--damping: omniquant does not read it; .* for gptq/],
    [{ method: 'rtn', onSingular: 'round' }, /^--on-singular: rtn does not read it/],
    [{ method: 'spqr', tileRows: 3 }, /^steps\[0\]: spqr: tiles of 1, 2, 4, 8 or 16 rows/],
    [{ method: 'spqr', bits: 1 }, /^steps\[0\]: spqr: bits must be a whole number from 2 to 8, got 1/],
    [{ method: 'wanda', pattern: '4:2' }, /^steps\[0\]: wanda: n:m needs whole numbers with 1 <= n <= m/],
    [{ method: 'baq', bits: 9 }, /^steps\[0\]: baq: bits must be a number from 1 to 8, got 9/],
    [
      {
        steps: [{ method: 'awq' }, { method: 'rtn' }, { method: 'sparsegpt', pattern: '2:4', blockSize: 6 }],
      },
      /^steps\[2\]: sparsegpt: 2:4 needs a block size divisible by 4/,
    ],
    [{ method: 'quip', damping: 1e300 }, /^--damping: a number above 0, up to 100 is needed, got 1e\+300/],
  ] satisfies [Partial<CompressOptions>, RegExp][])('%j', (options, message) => {
    expect(refusalOf(options)).toMatchObject({ name: 'OptionError', message: expect.stringMatching(message) })
  })
})

describe('weights that a step cannot take are refused by the plan, by name and size', () => {
  const name = 'model\\.layers\\.0\\.self_attn\\.q_proj\\.weight'
  test.each([
    [{ method: 'magnitude', pattern: '3:7' }, 'magnitude takes 7 columns together, as --pattern says'],
    [{ method: 'obs', pattern: '3:7' }, 'obs takes 7 columns together, as --pattern says'],
    [{ method: 'spqr', groupSize: 24 }, 'spqr takes 24 columns together, as --group-size says'],
    [{ method: 'aqlm', tileRows: 5 }, 'aqlm takes 5 rows together, as --tile-rows says'],
  ] as const)('%j', async (options, text) => {
    await expect(plan({ source, probe: false, ...options })).rejects.toThrow(
      new RegExp(`^steps\\[0\\]: ${text}, and ${name} has 64; change it, or leave the weight out`),
    )
  })
  test('but not those that another step takes, or that stay as they are', async () => {
    const overrides = [{ match: '**', keep: true }]
    const { tensors } = await plan({ source, probe: false, method: 'magnitude', pattern: '3:7', overrides })
    expect(tensors.length).toBeGreaterThan(0)
  })
})

test('recipes of earlier results, which say to every quantiser what holds anyway, are still read', () => {
  const step = { search: false, actOrder: false, staticGroups: true, damping: 0.01, onSingular: 'throw' }
  for (const method of ['rtn', 'obq', 'omniquant'] as const)
    expect(refusalOf({ steps: [{ method, bits: 3, ...step } as never] })).toBeUndefined()
})
