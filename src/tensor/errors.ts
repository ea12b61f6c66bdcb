/**
 * The errors of Pare. The class says what the reader does next, and with it the exit code of the command
 * line; `code` is stable for programs; `facts` repeats the numbers and names of the sentence as fields.
 *
 * A message is one sentence: subject, need, found, way out.
 * `mlp.up: groups of 64 need inputs divisible by 64, got 100; choose a group size of 50 or 100`
 */
export type Facts = Readonly<Record<string, string | number | boolean | readonly (string | number)[]>>

export interface ErrorDetails {
  /** Stable name for programs, `PARE_E_...`. */
  code?: string
  facts?: Facts
  cause?: unknown
}

export abstract class PareError extends Error {
  /** Exit code of the command line. */
  abstract readonly exitCode: number
  readonly code: string
  readonly facts: Facts

  constructor(message: string, defaultCode: string, { code = defaultCode, facts = {}, cause }: ErrorDetails) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = new.target.name
    this.code = code
    this.facts = facts
  }
}

/** An option, argument or recipe field that cannot be used; change the command. */
export class OptionError extends PareError {
  readonly exitCode = 2
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, 'PARE_E_OPTION', details)
  }
}

/** Tensors whose shapes, types or kernels do not fit an operation; change the call. */
export class ShapeError extends PareError {
  readonly exitCode = 1
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, 'PARE_E_SHAPE', details)
  }
}

/** A file that is damaged, lies about itself, or holds what Pare does not read; get another file. */
export class FormatError extends PareError {
  readonly exitCode = 1
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, 'PARE_E_FORMAT', details)
  }
}

/** A computation that has no usable result: a singular matrix, values that are not finite. */
export class NumericalError extends PareError {
  readonly exitCode = 1
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, 'PARE_E_NUMERICAL', details)
  }
}

/** The native core is missing or does not run here; build or install it. */
export class NativeError extends PareError {
  readonly exitCode = 1
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, 'PARE_E_NATIVE', details)
  }
}

/** Something on disk belongs to another run or state than the one asked for. */
export class StateError extends PareError {
  readonly exitCode = 3
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, 'PARE_E_STATE', details)
  }
}

/** The result is worse than the limit that was set. */
export class QualityError extends PareError {
  readonly exitCode = 4
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, 'PARE_E_QUALITY', details)
  }
}

/** Not enough memory or disk. */
export class ResourceError extends PareError {
  readonly exitCode = 5
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, 'PARE_E_RESOURCE', details)
  }
}

/** A source that cannot be reached or must not be used: network, hub, registry, permission. */
export class SourceError extends PareError {
  readonly exitCode = 6
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, 'PARE_E_SOURCE', details)
  }
}

/** The user stopped the work; nothing is half written. */
export class AbortError extends PareError {
  readonly exitCode = 130
  constructor(message = 'the work was stopped before it ended', details: ErrorDetails = {}) {
    super(message, 'PARE_E_ABORTED', details)
  }
}

/** Printable text of something untrusted: control and escape characters as \u{..}, cut at `limit` characters. */
export function printable(text: string, limit = 120): string {
  const clean = text.replace(
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\u{${c.charCodeAt(0).toString(16)}}`,
  )
  return clean.length > limit ? `${clean.slice(0, limit)}…` : clean
}
