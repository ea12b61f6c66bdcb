/** Which licence a text is, by the names of the Hugging Face hub. */

/** First words of the licences that are known, after blanks are made one. */
const beginnings: readonly [RegExp, string][] = [
  [/^apache license,? version 2\.0/, 'apache-2.0'],
  [/^(?:the )?mit license\b/, 'mit'],
  [/^permission is hereby granted, free of charge, to any person obtaining a copy of this software/, 'mit'],
  [/^gnu general public license,? version 3/, 'gpl-3.0'],
  [/^creative commons attribution 4\.0 international/, 'cc-by-4.0'],
  [/^creative commons legal code cc0 1\.0 universal/, 'cc0-1.0'],
]

/** The name of the licence, or nothing where the text begins as none that is known. */
export function licenceName(text: string): string | undefined {
  const start = text
    .slice(0, 1000)
    .toLowerCase()
    .replace(/[\s*#=-]+/g, ' ')
    .trim()
    // A copyright line may stand before a short licence.
    .replace(/^copyright .*?(?=permission is hereby granted)/, '')
  return beginnings.find(([pattern]) => pattern.test(start))?.[1]
}
