/** The verification of a result before it takes its place at the output. */
import type { OpenModel } from '../../models/open_model.ts'
import { FormatError, printable, QualityError, SourceError } from '../../tensor/errors.ts'
import type { RunHooks } from '../evaluate.ts'
import type { CompressionReport } from '../report.ts'
import type { RunFolder } from '../run_folder.ts'
import { storedFloats } from '../step_tuning.ts'
import type { Verification } from './verification.ts'
import { digestsOf } from './verify.ts'
import { failureOf, verifyResult } from './verify_result.ts'

/**
 * Verifies the files of a run against its source and the values that its journal tells of.
 *
 * @param path the model among the files of the run
 * @returns the part of the report
 * @throws QualityError PARE_E_VERIFY where a check fails or the result cannot be opened; nothing is published then.
 */
export async function verifyCompressed(
  path: string,
  source: OpenModel,
  folder: Pick<RunFolder, 'result' | 'stages' | 'output'>,
  names: readonly string[],
  hooks: RunHooks,
): Promise<NonNullable<CompressionReport['verification']>> {
  const layers = folder.stages.flatMap((stage) => [...stage.layers, ...storedFloats(stage)])
  const failed = (what: string, cause?: unknown) =>
    new QualityError(
      `${printable(folder.output, 4096)}: the result is not what was computed (${what}); it is not published; give --restart to do it again, or --no-verify to publish it as it is`,
      { code: 'PARE_E_VERIFY', facts: { output: folder.output }, cause },
    )
  let found: Verification
  try {
    const files = { folder: folder.result, record: names }
    found = await verifyResult({ path, source, digests: digestsOf(layers), files }, hooks)
  } catch (error) {
    if (error instanceof FormatError || error instanceof SourceError) throw failed(error.message, error)
    throw error
  }
  if (!found.passed) throw failed(failureOf(found))
  return { checks: found.checks, record: found.record }
}
