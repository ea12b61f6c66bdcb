import { expect, test } from 'vitest'
import { loadingLines } from './loading_lines.ts'
import { wholeReport } from './report_page/report.suite.ts'
import { targetTable } from './targets.ts'

test('the card of every target says how its program loads the result', () => {
  for (const [target, { layouts }] of Object.entries(targetTable))
    for (const { needs } of layouts)
      expect(loadingLines({ ...wholeReport(), target, programs: needs }, 'llama'), target).toHaveLength(1)
})
test('the file of the result is named, and no name that could end the code', () => {
  const report = { ...wholeReport(), target: 'gguf', programs: [] }
  expect(loadingLines({ ...report, files: ['a-Q4_K.gguf'] }, 'llama')).toEqual([
    '- llama.cpp: `llama-cli -m FOLDER/a-Q4_K.gguf`',
  ])
  expect(loadingLines({ ...report, files: ['a`b`.gguf'] }, 'llama')).toEqual([
    '- llama.cpp: `llama-cli -m FOLDER/model.gguf`',
  ])
})
test('encoders are loaded as such, and unknown targets have no line', () => {
  const programs = [{ name: 'transformers.js', version: '4.0.0' }]
  expect(loadingLines({ ...wholeReport(), target: 'transformers.js', programs }, 'bert')[0]).toContain(
    "'feature-extraction'",
  )
  expect(loadingLines({ ...wholeReport(), target: 'toString', programs: [] }, 'llama')).toEqual([])
})
