/** What stands in a field of a form, without the room around it; a password keeps its room. */
export function fieldOf(form: FormData, name: string): string {
  const value = form.get(name)
  if (typeof value !== 'string') return ''
  return name === 'password' ? value : value.trim()
}
