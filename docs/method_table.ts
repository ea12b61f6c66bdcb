/** The options that only some methods read, as a table, from the tables that the command line reads. */
import { type OwnField, ownFieldNames, ownFields } from '#src/run/own_fields.ts'
import { stepMethod, stepMethodNames } from '#src/run/step_methods.ts'

/** A row for each field, with the methods that read it and their defaults. */
export function methodTable(): string {
  const cell = (text: string) => text.replaceAll('|', '\\|')
  const rows = ownFieldNames.map((name) => {
    const { range, help }: OwnField = ownFields[name]
    const readers = stepMethodNames.flatMap((method) => {
      const text: string | undefined = stepMethod(method).options[name]
      return text === undefined ? [] : [`${method} (${text})`]
    })
    return `| \`${name}\` | ${readers.join(', ')} | ${cell(range)} | ${cell(help)} |`
  })
  return ['| field | methods (default) | may be | what it does |', '| --- | --- | --- | --- |', ...rows].join(
    '\n',
  )
}
