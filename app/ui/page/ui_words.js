export const UI_WORDS = {}
