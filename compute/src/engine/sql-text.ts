// Names and literals as DuckDB reads them. The only place that quotes: nothing else may glue user text into
// SQL.

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

export function quoteList(texts: readonly string[]): string {
  return `[${texts.map(quoteText).join(', ')}]`;
}

export function trimQuery(query: string): string {
  return query.trim().replace(/[;\s]+$/, '');
}

/** In brackets. A comment at the end of the query must not swallow the bracket, hence the line ends. */
export function asSubquery(query: string): string {
  return `(\n${trimQuery(query)}\n)`;
}

/**
 * Replaces {0}, {1}… by these texts. A number without an input, or an input without its number, is the
 * caller's error.
 */
export function fillPlaceholders(query: string, texts: readonly string[]): string {
  return query.replace(/\{(\d+)\}/g, (whole, digits: string) => texts[Number(digits)] ?? whole);
}

/** The numbers of the placeholders of a query, ascending. */
export function placeholdersOf(query: string): number[] {
  const numbers = new Set([...query.matchAll(/\{(\d+)\}/g)].map((match) => Number(match[1])));
  return [...numbers].sort((left, right) => left - right);
}
