//! The data of the sample API: cities, contacts, orders and accounts of an invented company.
//!
//! All data is constant, so that the answers in the README stay correct.

use serde::Serialize;
use serde_json::{Value, json};

/// A city with its weather.
pub(super) struct City {
    name: &'static str,
    country: &'static str,
    now: Conditions,
    wind: Wind,
}

/// The current weather.
struct Conditions {
    /// In degrees Celsius.
    temperature: f64,
    summary: &'static str,
    humidity: u8,
}

struct Wind {
    /// In metres per second.
    speed: f64,
    direction: &'static str,
}

/// A person or firm in the company's address book.
#[derive(Serialize)]
pub(super) struct Contact {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) customer_number: &'static str,
    pub(super) phone: &'static str,
    email: &'static str,
    address: Address,
    manager: Manager,
}

#[derive(Serialize)]
struct Address {
    street: &'static str,
    postcode: &'static str,
    city: &'static str,
}

#[derive(Serialize)]
struct Manager {
    name: &'static str,
    extension: &'static str,
}

/// An order with everything that belongs to it.
#[derive(Serialize)]
pub(super) struct Order {
    pub(super) id: &'static str,
    pub(super) status: Status,
    placed_at: &'static str,
    customer: Customer,
    items: &'static [OrderItem],
    pub(super) totals: Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<OrderDelivery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation: Option<Cancellation>,
}

/// The status of an order.
#[derive(Serialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Processing,
    Shipped,
    Delivered,
    Cancelled,
}

#[derive(Serialize)]
struct Customer {
    name: &'static str,
    customer_number: &'static str,
}

#[derive(Serialize)]
struct OrderItem {
    sku: &'static str,
    name: &'static str,
    quantity: u32,
    unit_price: f64,
    status: &'static str,
}

/// The price of an order.
#[derive(Serialize)]
pub(super) struct Totals {
    pub(super) currency: &'static str,
    goods: f64,
    shipping: f64,
    pub(super) total: f64,
}

#[derive(Serialize)]
struct OrderDelivery {
    carrier: &'static str,
    tracking_number: &'static str,
    expected_at: &'static str,
}

#[derive(Serialize)]
struct Cancellation {
    at: &'static str,
    reason: &'static str,
}

/// A customer's account; the PIN is never part of an answer.
#[derive(Serialize)]
pub(super) struct Account {
    pub(super) customer_number: &'static str,
    #[serde(skip)]
    pub(super) pin: &'static str,
    holder: &'static str,
    balance: AccountBalance,
    last_payment: Payment,
}

#[derive(Serialize)]
struct AccountBalance {
    amount: f64,
    currency: &'static str,
}

#[derive(Serialize)]
struct Payment {
    amount: f64,
    at: &'static str,
}

impl City {
    /// Finds a city by its name, ignoring case.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        CITIES.iter().find(|city| city.name.to_lowercase() == name.to_lowercase())
    }

    /// The weather now and on the next `days` days.
    pub(super) fn weather(&self, fahrenheit: bool, days: usize) -> Value {
        let degrees = |celsius: f64| {
            let value = if fahrenheit { celsius * 1.8 + 32.0 } else { celsius };
            (value * 10.0).round() / 10.0
        };
        let daily: Vec<Value> = DAYS
            .iter()
            .take(days)
            .map(|day| {
                json!({
                    "date": day.date,
                    "weekday": day.weekday,
                    "max": degrees(self.now.temperature + day.warmer),
                    "min": degrees(self.now.temperature + day.warmer - 6.2),
                    "summary": day.summary.unwrap_or(self.now.summary),
                    "rain_chance": day.rain_chance,
                })
            })
            .collect();
        json!({
            "city": self.name,
            "country": self.country,
            "unit": if fahrenheit { "fahrenheit" } else { "celsius" },
            "current": {
                "temperature": degrees(self.now.temperature),
                "summary": self.now.summary,
                "humidity": self.now.humidity,
                "wind": { "speed": self.wind.speed, "unit": "m/s", "direction": self.wind.direction },
            },
            "daily": daily,
        })
    }
}

impl Contact {
    /// Whether the query is a part of the name, or the customer number, or the end of the phone number.
    pub(super) fn matches(&self, query: &str) -> bool {
        let digits: String = query.chars().filter(char::is_ascii_digit).collect();
        self.name.to_lowercase().contains(&query.to_lowercase())
            || self.customer_number == digits
            || (digits.len() >= 4 && self.phone.ends_with(&digits))
    }
}

/// One day of every city's forecast.
struct Day {
    date: &'static str,
    weekday: &'static str,
    /// The difference from the current temperature, in degrees Celsius.
    warmer: f64,
    /// `None`: the same as now.
    summary: Option<&'static str>,
    rain_chance: u8,
}

static DAYS: [Day; 7] = [
    day("2026-06-15", "Monday", 2.1, None, 60),
    day("2026-06-16", "Tuesday", 3.4, Some("partly cloudy"), 20),
    day("2026-06-17", "Wednesday", 1.0, Some("showers"), 75),
    day("2026-06-18", "Thursday", -0.6, Some("rain"), 90),
    day("2026-06-19", "Friday", 2.8, Some("cloudy"), 35),
    day("2026-06-20", "Saturday", 4.9, Some("sunny"), 5),
    day("2026-06-21", "Sunday", 5.3, Some("sunny"), 10),
];

const fn day(
    date: &'static str,
    weekday: &'static str,
    warmer: f64,
    summary: Option<&'static str>,
    rain_chance: u8,
) -> Day {
    Day { date, weekday, warmer, summary, rain_chance }
}

static CITIES: [City; 13] = [
    city("Oslo", "Norway", now(14.3, "cloudy", 68), wind(3.4, "south")),
    city("Bergen", "Norway", now(9.4, "light rain", 91), wind(7.2, "south-west")),
    city("Tromsø", "Norway", now(6.8, "sunny", 62), wind(4.1, "north")),
    city("Utrecht", "Netherlands", now(17.6, "partly cloudy", 70), wind(5.0, "west")),
    city("Lyon", "France", now(24.1, "sunny", 48), wind(2.2, "north")),
    city("Paris", "France", now(21.0, "sunny", 53), wind(2.9, "north-east")),
    city("Berlin", "Germany", now(19.5, "partly cloudy", 57), wind(3.8, "east")),
    city("London", "United Kingdom", now(16.2, "cloudy", 74), wind(4.6, "west")),
    city("Madrid", "Spain", now(29.7, "sunny", 31), wind(1.8, "south-east")),
    city("Warsaw", "Poland", now(18.4, "showers", 72), wind(4.4, "north-west")),
    city("New York", "United States", now(22.9, "thunderstorms", 80), wind(6.1, "south")),
    city("Toronto", "Canada", now(20.2, "sunny", 55), wind(3.3, "west")),
    city("São Paulo", "Brazil", now(23.5, "fog", 84), wind(1.5, "east")),
];

const fn city(name: &'static str, country: &'static str, now: Conditions, wind: Wind) -> City {
    City { name, country, now, wind }
}

const fn now(temperature: f64, summary: &'static str, humidity: u8) -> Conditions {
    Conditions { temperature, summary, humidity }
}

const fn wind(speed: f64, direction: &'static str) -> Wind {
    Wind { speed, direction }
}

/// The address book.
pub(super) static CONTACTS: [Contact; 5] = [
    Contact {
        id: "c-101",
        name: "Ingrid Solberg",
        customer_number: "100482",
        phone: "+15550100101",
        email: "ingrid.solberg@example.com",
        address: Address { street: "Strandgata 12", postcode: "5013", city: "Bergen" },
        manager: Manager { name: "Marek Nowak", extension: "214" },
    },
    Contact {
        id: "c-102",
        name: "Lars Solberg",
        customer_number: "100617",
        phone: "+15550100102",
        email: "lars.solberg@example.com",
        address: Address { street: "Kirkeveien 4", postcode: "0368", city: "Oslo" },
        manager: Manager { name: "Marek Nowak", extension: "214" },
    },
    Contact {
        id: "c-103",
        name: "Amina Diallo",
        customer_number: "100733",
        phone: "+15550100103",
        email: "amina.diallo@example.com",
        address: Address { street: "8 rue des Lilas", postcode: "69003", city: "Lyon" },
        manager: Manager { name: "Claire Petit", extension: "231" },
    },
    Contact {
        id: "c-104",
        name: "Pieter de Vries",
        customer_number: "100890",
        phone: "+15550100104",
        email: "pieter@example.com",
        address: Address { street: "Oudegracht 77", postcode: "3511 AD", city: "Utrecht" },
        manager: Manager { name: "Claire Petit", extension: "231" },
    },
    Contact {
        id: "c-105",
        name: "O'Neill & Sons",
        customer_number: "101204",
        phone: "+15550100105",
        email: "office@oneill.example.com",
        address: Address { street: "3 Mill Lane", postcode: "E1 6AN", city: "London" },
        manager: Manager { name: "Marek Nowak", extension: "214" },
    },
];

/// The orders, one of each status.
pub(super) static ORDERS: [Order; 4] = [
    Order {
        id: "A-1001",
        status: Status::Processing,
        placed_at: "2026-06-12T09:15:00Z",
        customer: Customer { name: "Amina Diallo", customer_number: "100733" },
        items: &[item("TEA-250", "Ceylon tea, 250 grams", 2, 8.9, "packed")],
        totals: Totals { currency: "EUR", goods: 17.8, shipping: 4.9, total: 22.7 },
        delivery: None,
        cancellation: None,
    },
    Order {
        id: "A-1002",
        status: Status::Shipped,
        placed_at: "2026-06-09T16:40:00Z",
        customer: Customer { name: "Ingrid Solberg", customer_number: "100482" },
        items: &[
            item("LMP-07", "desk lamp", 1, 49.0, "shipped"),
            item("CHR-31", "oak chair", 2, 119.5, "shipped"),
            item("RUG-12", "wool rug", 1, 89.0, "backorder"),
        ],
        totals: Totals { currency: "EUR", goods: 377.0, shipping: 19.0, total: 396.0 },
        delivery: Some(OrderDelivery {
            carrier: "Nordpost",
            tracking_number: "77310428",
            expected_at: "2026-06-18T14:00:00Z",
        }),
        cancellation: None,
    },
    Order {
        id: "A-1003",
        status: Status::Delivered,
        placed_at: "2026-05-28T11:05:00Z",
        customer: Customer { name: "Lars Solberg", customer_number: "100617" },
        items: &[item("MUG-04", "stoneware mug", 6, 11.25, "delivered")],
        totals: Totals { currency: "EUR", goods: 67.5, shipping: 0.0, total: 67.5 },
        delivery: Some(OrderDelivery {
            carrier: "Nordpost",
            tracking_number: "77308815",
            expected_at: "2026-06-02T10:30:00Z",
        }),
        cancellation: None,
    },
    Order {
        id: "A-1004",
        status: Status::Cancelled,
        placed_at: "2026-06-10T08:00:00Z",
        customer: Customer { name: "Pieter de Vries", customer_number: "100890" },
        items: &[item("BKE-02", "folding bike", 1, 649.0, "cancelled")],
        totals: Totals { currency: "EUR", goods: 649.0, shipping: 25.0, total: 674.0 },
        delivery: None,
        cancellation: Some(Cancellation { at: "2026-06-11T13:20:00Z", reason: "ordered twice" }),
    },
];

const fn item(
    sku: &'static str,
    name: &'static str,
    quantity: u32,
    unit_price: f64,
    status: &'static str,
) -> OrderItem {
    OrderItem { sku, name, quantity, unit_price, status }
}

/// The accounts that `GET /account` knows.
pub(super) static ACCOUNTS: [Account; 2] = [
    Account {
        customer_number: "100482",
        pin: "4711",
        holder: "Ingrid Solberg",
        balance: AccountBalance { amount: 1284.5, currency: "EUR" },
        last_payment: Payment { amount: 396.0, at: "2026-06-09T16:41:00Z" },
    },
    Account {
        customer_number: "100733",
        pin: "0815",
        holder: "Amina Diallo",
        balance: AccountBalance { amount: -22.7, currency: "EUR" },
        last_payment: Payment { amount: 58.0, at: "2026-05-04T10:00:00Z" },
    },
];
