//! Dates for `strftime_now`.

/// C's `strftime` in English and UTC; unknown conversions stay as they are.
pub(super) fn strftime(format: &str, seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let date = Date::of(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let half = (hour + 11) % 12 + 1;
    let day_name = DAYS[usize::try_from(seconds / 86_400 % 7).unwrap_or(0)];
    let month_name = MONTHS[date.month];
    let month = date.month + 1;
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut sign = rest.next();
        let bare = sign == Some('-');
        if bare {
            sign = rest.next();
        }
        let number = |value: u64| if bare { value.to_string() } else { format!("{value:02}") };
        text.push_str(&match sign {
            Some('Y') => date.year.to_string(),
            Some('y') => number(date.year % 100),
            Some('m') => number(month as u64),
            Some('d') => number(date.day),
            Some('e') => format!("{:2}", date.day),
            Some('H') => number(hour),
            Some('I') => number(half),
            Some('M') => number(minute),
            Some('S') => number(second),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('j') if bare => (date.day_of_year + 1).to_string(),
            Some('j') => format!("{:03}", date.day_of_year + 1),
            Some('A') => day_name.to_owned(),
            Some('a') => day_name[..3].to_owned(),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => month_name[..3].to_owned(),
            Some('F') => format!("{}-{month:02}-{:02}", date.year, date.day),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('R') => format!("{hour:02}:{minute:02}"),
            Some('D') => format!("{month:02}/{:02}/{:02}", date.day, date.year % 100),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{}{other}", if bare { "-" } else { "" }),
            None => format!("%{}", if bare { "-" } else { "" }),
        });
    }
    text
}

/// A day of the Gregorian calendar.
struct Date {
    year: u64,
    /// From 0.
    month: usize,
    /// From 1.
    day: u64,
    /// From 0.
    day_of_year: u64,
}

impl Date {
    /// The date `days` after the first of January 1970.
    fn of(days: u64) -> Date {
        // Whole 400-year cycles first (146,097 days; 1970 + 400n have the same calendars), then year by year.
        let mut year = 1970 + days / 146_097 * 400;
        let mut left = days % 146_097;
        let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        while left >= 365 + u64::from(leap(year)) {
            left -= 365 + u64::from(leap(year));
            year += 1;
        }
        let day_of_year = left;
        let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while let Some(&length) = lengths.get(month).filter(|&&length| left >= length) {
            left -= length;
            month += 1;
        }
        Date { year, month, day: left + 1, day_of_year }
    }
}
