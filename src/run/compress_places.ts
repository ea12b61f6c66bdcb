/** The files and folders that a compression is given, checked before a model is fetched or opened. */
import { accessSync, constants, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { checkTexts } from '../formats/text_file.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import { checkOutput, checkOutside, checkPlace, checkReplaceable } from './output_place.ts'

/**
 * Every place that is named is checked, whether the method and the evaluation will use it or not.
 *
 * @throws OptionError for an output that holds something or a scratch that is no folder to write in; SourceError for
 * a text that cannot be read and a place where no folder can be made.
 */
export function checkPlaces({
  output,
  overwrite,
  restart,
  calibration,
  text,
  scratch,
}: Pick<
  ResolvedCompressOptions,
  'output' | 'overwrite' | 'restart' | 'calibration' | 'text' | 'scratch'
>): void {
  checkOutput(resolve(output), overwrite || restart)
  checkPlace(resolve(output))
  checkTexts([...(calibration ?? []), ...(text ?? [])])
  if (scratch !== undefined) checkScratch(scratch)
}

/** @throws OptionError where the result would replace the source or a file that the run reads, or lie in the source. */
export function checkReplaced(
  { output, calibration, text, imatrix }: ResolvedCompressOptions,
  source: string,
): void {
  const read = [...(calibration ?? []), ...(text ?? []), ...(imatrix === undefined ? [] : [imatrix])]
  checkReplaceable(resolve(output), [source, process.cwd(), ...read])
  checkOutside(resolve(output), source)
}

function checkScratch(scratch: string): void {
  let found = 'a file'
  try {
    if (statSync(scratch).isDirectory()) {
      accessSync(scratch, constants.W_OK | constants.X_OK)
      return
    }
  } catch (cause) {
    found = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
  }
  throw new OptionError(
    `--scratch: ${printable(scratch)} must be a folder to write in, found ${found}; make it or name another`,
    { code: 'PARE_E_SCRATCH', facts: { scratch, found } },
  )
}
