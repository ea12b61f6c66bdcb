/** The teacher of a distillation, opened from its folder. */
import { loadClassifier } from '../../models/classifiers/load_classifier.ts'
import { openLanguageModel } from '../../models/load_model.ts'
import { isLstmFolder, loadLstm } from '../../models/lstm/lstm_folder.ts'
import type { Batch } from '../../optim/examples.ts'
import { OptionError } from '../../tensor/errors.ts'
import type { Teacher } from '../../train/distillation.ts'
import { distilled } from '../../train/distillation.ts'
import type { LogitsTask } from '../../train/labelled_task.ts'
import { hashOfFiles, modelFiles } from '../fingerprint.ts'
import type { DistillationRecipe } from './distillation_fields.ts'

export interface OpenTeacher extends Teacher<Batch> {
  /** SHA-256 of its files. */
  readonly hash: string
  /** Frees its weights, or gives its files back. */
  close(): void
}

/**
 * Opens a teacher whole, in f32.
 *
 * @param kind what the student is: a model of another kind is refused
 * @param classes tokens or classes of the student
 */
export function openTeacher(path: string, kind: 'text' | 'images', classes: number): OpenTeacher {
  const check = (found: number, close: () => void) => {
    if (found === classes) return
    close()
    throw new OptionError(
      `train.distill.teacher: needs the ${classes} ${kind === 'text' ? 'tokens' : 'classes'} of the student, has ${found}; choose a teacher with the same ones`,
      { code: 'PARE_E_FIELD', facts: { field: 'train.distill.teacher', needed: classes, found } },
    )
  }
  const hash = hashOfFiles(modelFiles(path))
  if (kind === 'images') {
    const { classifier, config, parameters } = loadClassifier(path)
    const close = () => parameters.dispose()
    check(config.classes.length, close)
    return { hash, close, logits: ({ inputs }, { at }) => classifier.forward(inputs.cast('f32'), { at }) }
  }
  if (isLstmFolder(path)) {
    const { model, parameters } = loadLstm(path)
    const close = () => parameters.dispose()
    check(model.config.vocabulary, close)
    return { hash, close, logits: ({ inputs }, pass) => model.logits(inputs, pass) }
  }
  const open = openLanguageModel(path)
  const close = () => open.close()
  check(open.model.config.vocabulary, close)
  try {
    const resident = open.model.load()
    return { hash, close, logits: ({ inputs }, pass) => resident.logits(inputs, pass) }
  } catch (error) {
    close()
    throw error
  }
}

/** The task of a student that learns from `teacher` too. @param seed of the first weights of maps */
export function withTeacher(
  task: LogitsTask<Batch>,
  teacher: Teacher<Batch>,
  { teacher: _, ...options }: DistillationRecipe,
  seed: number,
): LogitsTask<Batch> {
  return distilled(task, { ...options, teacher, seed })
}
